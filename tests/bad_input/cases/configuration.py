"""Configuration: broken files, unknown environments, settings of MLflow, the catalog, and arguments of `kedro`."""

from cases.case import RUN, Case, Place, SetUp, nothing

LOCAL = ("run", "--pipelines=rsi")
"""A run on conf/base, conf/scenes and conf/local."""


def _case(
    wrong: str, says: str, arguments: tuple[str, ...] = RUN, set_up: SetUp = nothing, process: bool = False
) -> Case:
    return Case("configuration", wrong, says, arguments, set_up, process)


def _file(
    wrong: str, name: str, content: str | bytes, says: str, arguments: tuple[str, ...] = RUN, process: bool = False
) -> Case:
    return _case(wrong, says, arguments, lambda place: (place.write(name, content), None)[1], process)


def _changed(name: str, old: str, new: str) -> SetUp:
    """A file of conf/ with another text in the place of one that it has."""

    def set_up(place: Place) -> None:
        path = place.project / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return set_up


def _removed(*names: str) -> SetUp:
    def set_up(place: Place) -> None:
        for name in names:
            (place.project / name).unlink()

    return set_up


def _nothing_below_conf(place: Place) -> None:
    (place.project / "conf/local/.gitkeep").unlink()
    (place.project / "conf/local").rmdir()


def _without_a_data_folder(place: Place) -> None:
    for environment in ("base", "scenes"):
        place.write(f"conf/{environment}/globals.yml", "folder: data\n")


_FILES = (
    _case(
        "the environment is unknown",
        "there are base, flux, local, sana, scenes, scenes_sd3, sd, sd14, sd14_quick, sd3, sd3_quick, test",
        ("run", "--env=prod"),
        process=True,
    ),
    _case("the folder conf/local is gone", "there is no environment 'local'", LOCAL, _nothing_below_conf),
    _file(
        "conf/local is broken YAML", "conf/local/parameters.yml", "seed: [1\nrounds: 2", "correct the file", LOCAL, True
    ),
    _file(
        "an environment is broken YAML",
        "conf/test/parameters.yml",
        "a:\n\tb: 1\n",
        "conf/test/parameters.yml cannot be read: while scanning",
    ),
    _file("a file that is not UTF-8", "conf/local/parameters.yml", b"# caf\xe9\n", "correct the file", LOCAL),
    _file("a file of binary zeros", "conf/local/parameters.yml", b"\0\0", "correct the file", LOCAL),
    _file("a list in place of keys", "conf/local/parameters.yml", "- seed\n", "correct the file", LOCAL),
    _file("a key that stands twice", "conf/local/parameters.yml", "seed: 1\nseed: 2\n", "found duplicate key", LOCAL),
    _file("two files with one key", "conf/base/parameters_mine.yml", "seed: 1\n", "Duplicate keys found in"),
    _file("a reference to nothing", "conf/local/parameters.yml", "seed: ${nothing}\n", "correct the file", LOCAL),
    _file(
        "a global that is not there", "conf/local/parameters.yml", "seed: ${globals:none}\n", "correct the file", LOCAL
    ),
    _file("an anchor that is not there", "conf/local/parameters.yml", "seed: *other\n", "undefined alias", LOCAL),
    _case(
        "the parameters of a section are gone",
        "parameter 'sft' is missing",
        LOCAL,
        _removed("conf/base/parameters_sft.yml"),
    ),
    _case("globals.yml does not say where data lies", "'data' in globals.yml", LOCAL, _without_a_data_folder),
    _file(
        "the data folder's name is longer than any",
        "conf/test/globals.yml",
        f"extends: scenes\ndata: data/{'x' * 300}\n",
        "of 300 bytes, and the file system allows",
    ),
    _file("globals.yml is broken", "conf/base/globals.yml", "data: [", "correct the file"),
    _file(
        "environments extend each other",
        "conf/scenes/globals.yml",
        "extends: test\ndata: data\n",
        "correct `extends` in their globals.yml",
    ),
    _file(
        "an environment extends one that is not there",
        "conf/test/globals.yml",
        "extends: tset\ndata: data\n",
        "there is no environment 'tset'",
    ),
    _case(
        "an environment without the section base_model",
        "the parameters have no section 'base_model'",
        ("run", "--env=sd14", "--pipelines=base_model"),
    ),
    _case("base alone has no model", "parameter 'model.base' is missing; set it", ("run", "--env=base")),
)

_MLFLOW = "conf/test/mlflow.yml"
_TRACKING = (
    _file("an unknown setting of MLflow", _MLFLOW, "tracking: {uri: sqlite:///a.db}\n", "mlflow.yml: tracking.uri is"),
    _file(
        "a setting of MLflow of the wrong type",
        _MLFLOW,
        "tracking: {enabled: perhaps}\n",
        "tracking.enabled is 'perhaps'",
    ),
    _file("MLflow's settings are a word", _MLFLOW, "tracking: nothing\n", "there are enabled, experiment"),
    _file(
        "nobody listens at MLflow's address",
        _MLFLOW,
        "tracking: {tracking_uri: 'http://127.0.0.1:9'}\n",
        "MLflow's store http://127.0.0.1:9 cannot be used",
    ),
    _file(
        "MLflow's database is in no folder",
        _MLFLOW,
        "tracking: {tracking_uri: 'sqlite:////dev/null/mlflow.db'}\n",
        "correct tracking.tracking_uri in conf/<env>/mlflow.yml",
    ),
    _file(
        "a kind of address that MLflow does not know",
        _MLFLOW,
        "tracking: {tracking_uri: 'gopher://host'}\n",
        "correct tracking.tracking_uri in conf/<env>/mlflow.yml",
    ),
    _case("mlflow.yml is gone", "there is no mlflow.yml in", RUN, _removed("conf/base/mlflow.yml", _MLFLOW)),
)

_CATALOG = "conf/base/catalog.yml"
_ENTRY = 'collected_prompts: {<<: *table, filepath: "${globals:data}/01_raw/collected_prompts.parquet"}'
_CATALOGS = (
    _case(
        "a dataset of an unknown kind",
        "Dataset 'Parket' not found in 'rsidiff_kedro.datasets'",
        RUN,
        _changed(_CATALOG, _ENTRY, _ENTRY.replace("<<: *table", "type: rsidiff_kedro.datasets.Parket")),
    ),
    _case(
        "a dataset of no kind", "'type' is missing", RUN, _changed(_CATALOG, _ENTRY, _ENTRY.replace("<<: *table, ", ""))
    ),
    _case(
        "a dataset without its file",
        "collected_prompts",
        RUN,
        _changed(_CATALOG, _ENTRY, "collected_prompts: {<<: *table}"),
    ),
    _case(
        "two datasets in one file",
        "rsi.round_1.scores and rsi.round_2.scores have one filepath in catalog.yml",
        RUN,
        _changed(_CATALOG, "{method}/round_{n}/scores.parquet", "{method}/scores.parquet"),
    ),
    _case(
        "an image set in a bucket",
        "give a path without a protocol",
        RUN,
        _changed(_CATALOG, "${globals:data}/02_intermediate/probe_images", "s3://bucket/probe_images"),
    ),
    _file("the catalog is broken YAML", _CATALOG, "a: {", "the catalog in"),
)

_ARGUMENTS = (
    _case("the pipeline is unknown", "there is no pipeline 'rsy'; there are", ("run", "--env=test", "--pipelines=rsy")),
    _case(
        "the node is unknown",
        "rsi.round_1.synthesis.generate_images",
        (*RUN, "--nodes=rsi.round_1.synthesis.generate_image"),
    ),
    _case("the round is beyond rounds", "rsi.round_3", (*RUN, "--namespaces=rsi.round_3")),
    _case("the tag is unknown", "no nodes", (*RUN, "--tags=syntesis")),
    _case("the input is unknown", "['prompt_poll']", (*RUN, "--from-inputs=prompt_poll")),
    _case("the output is unknown", "['rsi.round_1.adaptor']", (*RUN, "--to-outputs=rsi.round_1.adaptor")),
    _case(
        "the runner is unknown", "'FastRunner'; correct the name, or leave --runner out", (*RUN, "--runner=FastRunner")
    ),
    _case("the runner is not supported", "ThreadRunner is not supported", (*RUN, "--runner=ThreadRunner")),
    _case(
        "a version of a dataset that the run makes",
        "'prompt_pool', which this run makes itself",
        (*RUN, "--load-versions=prompt_pool:2030-01-01T00.00.00.000Z"),
    ),
    _case(
        "a version of a dataset that no step reads",
        "'report', which no step of this run reads",
        (*RUN, "--nodes=prompt_curation.collect_prompts", "--load-versions=report:2030-01-01T00.00.00.000Z"),
    ),
    _case("a list that stays open", "correct it", (*RUN, "--params=evaluation.rewards=[proxy,oracle,rounds=1")),
    _case("a parameter without a value", "must contain a key and a value", (*RUN, "--params=rounds")),
    _case("a parameter of broken YAML", "correct it", (*RUN, "--params=finetune.steps=[1")),
    _case("pipelines are named twice", "give one of them", (*RUN, "--pipeline=sft")),
    _file("a file of arguments of broken YAML", "run.yml", "run: [", "correct it", ("run", "--config=run.yml")),
    _file("a file of arguments without any", "run.yml", "- run", "correct it", ("run", "--config=run.yml")),
    _case("an option that does not exist", "No such option", (*RUN, "--rounds=3")),
    _case("a file of arguments that is not there", "does not exist", (*RUN, "--config=no.yml")),
    _case("a folder of configuration that is not there", "no/conf", (*RUN, "--conf-source=no/conf")),
    _file(
        "an archive of configuration", "conf.tar.gz", b"", "unpack or download it", (*RUN, "--conf-source=conf.tar.gz")
    ),
    _case("nothing is recorded of a dataset", "run the pipeline", ("rsi", "lineage", "rsi.round_9.adapter")),
    _case(
        "the doctor is given an unknown environment", "there is no environment 'prod'", ("rsi", "doctor", "--env=prod")
    ),
    _case("the doctor is given a word", "must contain a key and a value", ("rsi", "doctor", "--params=rounds")),
    _case("the lineage is asked of an unknown environment", "'prod'", ("rsi", "lineage", "report", "--env=prod")),
    _case("a report on prompts that are not there", "no.csv: no such file", ("rsi", "prompts", "no.csv")),
    _case(
        "a report on prompts of an unknown environment",
        "there is no environment 'prod'",
        ("rsi", "prompts", "--env=prod"),
    ),
    _case("votes are to be given, but nothing was run", "has trained a round", ("rsi", "label", "--env=test")),
    _case("votes are compared, but none was given", "there are no votes", ("rsi", "label", "--summary", "--env=test")),
    _case("the command is unknown", "No such command", ("rsi", "docter")),
)

CASES = (*_FILES, *_TRACKING, *_CATALOGS, *_ARGUMENTS)
