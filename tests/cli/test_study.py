"""`kedro rsi study` plans the runs of a study, and collects what they measured."""

import json
import shutil
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from rsidiff_kedro.cli import cli
from rsidiff_kedro.cli.study_jobs import Plan, StudyJobs, _made, measured_by
from rsidiff_kedro.core import hub
from rsidiff_kedro.datasets.runs import open_runs
from rsidiff_kedro.hooks.configuration import merge, open_configuration
from rsidiff_kedro.parameters import parse_parameters
from rsidiff_kedro.provenance.records import Record, Records
from rsidiff_kedro.provenance.retention import RECORDS
from rsidiff_kedro.rewards.registry import REWARDS
from rsidiff_kedro.study import runs
from rsidiff_kedro.study.runs import Job
from rsidiff_kedro.study.settings import Measured, StudyError, StudySettings, nested, read_study

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"

GOOD = "env: test\nrounds: 2\nseeds: [0]\narms: {{one: {{}}, two: {{params: {params}}}}}\n"
Study = Callable[..., Result]


@pytest.fixture
def study(project: Path) -> Study:
    """Return `study(params, "--dry-run")`, which calls the command on a study of two arms."""
    bootstrap_project(project)

    def call(params: str, *options: str) -> Result:
        (project / "mine.yml").write_text(GOOD.format(params=params), encoding="utf-8")
        return CliRunner().invoke(cli, ["rsi", "study", "mine.yml", *options])

    return call


@pytest.fixture
def made(finished_project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """Put a finished run of conf/test where each run should be made; collect the runs."""
    found: list[Job] = []

    def run(job: Job, log: Path) -> int:
        found.append(job)
        place = job.folder / "data" / "test"
        shutil.copytree(finished_project / "data" / "test", place, dirs_exist_ok=True)
        if job.arm == "two" or Path("conf/test/catalog.yml").exists():  # else the other one has those of conf/test
            _vouch(job, Records(place / RECORDS))
        return 0

    monkeypatch.setattr(runs, "run_project", lambda *given: run)
    return found


def _vouch(job: Job, records: Records) -> None:
    """Have the records of another run say that its steps are the job's."""
    planned = StudyJobs(StudySettings(rounds=1, seeds=(0,), arms={"one": {}}), Path(), Path(), print)
    loader = open_configuration(job.env, dict(job.params))[1]
    steps = {each.step: each for each in planned.plan(job, loader).steps}
    for each in (each for each in records.all() if each.step in steps):
        (records.folder / each.file_name).unlink()
        made = each.model_dump(include={"version", "inputs", "outputs"})
        records.write(steps[each.step].model_copy(update=made))


def test_a_study_is_listed_and_nothing_is_run(study: Study, made: list[Job]) -> None:
    result = study("{weighting.enabled: false}", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "two seed 0: to run, 2 rounds, " in result.output and "0 of 2 runs are done" in result.output
    assert not made


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ("{weighting.enable: false}", "arm 'two': unknown parameter 'weighting.enable'; did you mean"),
        ("{finetune: {steps: 0}}", "arm 'two': parameter 'finetune.steps' is 0"),
    ],
)
def test_an_arm_s_parameters_are_checked_as_those_of_a_run(study: Study, params: str, says: str) -> None:
    result = study(params)
    assert result.exit_code == 1 and says in result.output


def write_table(path: Path) -> None:
    pd.DataFrame({"prompt": ["mine"]}).to_parquet(path)


@pytest.mark.parametrize(
    ("name", "option", "says"),
    [
        ("notes.md", "--page=notes.md", "notes.md exists and is no page of a study; move it"),
        ("notes.png", "--page=notes.md", "notes.png exists without a page notes.md beside it"),
        ("notes.png", "--page=notes.png", "notes.png would be both the page and its figure"),
        ("prompts.parquet", "--tables=.", "prompts.parquet exists and is of no study; move it"),
        ("notes.md", "--tables=notes.md/tables", "notes.md is no folder, so nothing can be written into"),
        ("notes.md", "--page=notes.md/x.md", "notes.md is no folder, so nothing can be written into"),
    ],
)
def test_files_of_others_are_not_replaced_and_nothing_is_run(
    study: Study, made: list[Job], project: Path, name: str, option: str, says: str
) -> None:
    write_table(project / name)
    before = (project / name).read_bytes()
    result = study("{}", option)
    assert result.exit_code != 0 and says in result.output, result.output
    assert (project / name).read_bytes() == before and not made


def test_a_study_writes_tables_and_a_page_and_is_done(
    study: Study, made: list[Job], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = study("{gate.enabled: false}")
    assert result.exit_code == 0, result.output
    assert "two seed 0: done in " in result.output
    images = pd.read_parquet(project / "data/study/mine/tables/images.parquet")
    assert [*images.groupby(["arm", "round"]).size()] == [12] * 6
    place = project / "data/study/mine/results.md"
    page = place.read_text()
    assert "| two minus one | 2 | accuracy | +0.000 [+0.000, +0.000] | 1.000 | 1, 6 |" in page
    assert "`gate.enabled=false`" in page

    assert "2 of 2 runs are done" in study("{gate.enabled: false}", "--dry-run").output
    assert "1 of 2 runs are done" in study("{gate.enabled: true, gate.tolerance: 0.1}", "--dry-run").output
    assert len(made) == 2
    place.rename(place.with_name("mine.md"))
    result = study("{gate.enabled: false}")
    assert "results.png exists without a page results.md beside it" in result.output
    assert "move or delete it" in result.output
    place.with_suffix(".png").unlink()
    assert study("{gate.enabled: false}").exit_code == 0 and place.read_text() == page
    assert len(made) == 2

    shutil.rmtree(project / "data/study/mine/one")
    again = study("{gate.enabled: false}", "--only-page", "--page=page.md")
    assert again.exit_code == 0 and (project / "page.md").read_text() == page.replace("results.png", "page.png")
    text = (project / "mine.yml").read_text().removeprefix("env: test\n")
    (project / "mine.yml").write_text(text)
    monkeypatch.setenv("KEDRO_ENV", "test")
    result = CliRunner().invoke(cli, ["rsi", "study", "mine.yml", "--only-page"])
    assert result.exit_code == 0 and place.read_text() == page and "Environment test; " in page


def _make_another(folder: Path) -> None:
    """Make a run in a study's folder by hand, with another seed, that ends with other metrics."""
    records, version = Records(folder / "data" / "test" / RECORDS), "2099-01-01T00.00.00.000Z"
    name = "rsi.round_2.metrics"
    run = open_runs(folder, open_configuration("test")[1]).newest()
    record, path = run.leading_to(name)[0], run.path(name)
    place = path.parents[1] / version / path.name
    place.parent.mkdir()
    place.write_text(json.dumps(dict.fromkeys(run.load(name), 0.123)), encoding="utf-8")
    parameters = {**record.parameters, "seed": record.parameters["seed"] + 1}
    records.write(record.model_copy(update={"version": version, "parameters": parameters}))
    records.end(version, {**run.versions, name: version})


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_run_by_hand_in_the_folder_of_a_study_s_run_is_not_measured(
    study: Study, made: list[Job], project: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: bool
) -> None:
    if meanwhile:
        run = runs.run_project(project, print, print, threading.Event())
        monkeypatch.setattr(runs, "run_project", lambda *given: lambda *job: run(*job) or _make_another(job[0].folder))
    assert study("{}").exit_code == 0
    if not meanwhile:
        _make_another(project / "data/study/mine/two/seed_0")
    result = study("{}")
    assert result.exit_code == 0 and len(made) == 2, result.output
    table = pd.read_parquet(project / "data/study/mine/tables/metrics.parquet").set_index(["round", "metric"])
    one, two = (table.loc[table["arm"] == arm, "value"] for arm in ("one", "two"))
    pd.testing.assert_series_equal(one, two)
    assert len(one) > 10 and (one != 0.123).all()

    records = Records(project / "data/study/mine/two/seed_0/data/test" / RECORDS)
    for each in records.all():  # made again by hand with the same parameters, with another result, and deleted
        if each.step == "rsi.round_1.synthesis.generate_images":
            records.write(each.model_copy(update={"version": "9", "outputs": dict.fromkeys(each.outputs, "other")}))
    assert "2 of 2 runs are done" in study("{}", "--dry-run").output


def test_a_run_by_hand_alone_is_no_run_of_the_study(
    study: Study, made: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the configuration was edited when the run read it, and set back by its end."""
    monkeypatch.setattr(sys.modules[__name__], "_vouch", lambda *given: None)
    result = study("{gate.enabled: false}")
    assert result.exit_code == 1, result.output
    assert "two seed 0: FAILED" in result.output
    assert "as the study says (gate.enabled is False, was True)" in result.output
    assert "1 of 2 runs are done" in study("{gate.enabled: false}", "--dry-run").output


@pytest.mark.parametrize(
    ("file", "edit", "says"),
    [
        ("conf/test/parameters.yml", ("rank: 2, steps: 3", "rank: 2, steps: 1"), "finetune.steps is 1, was 3"),
        ("conf/test/parameters.yml", ("rank: 2, steps: 3", "rank: 2, steps: x"), "'finetune.steps' is 'x'"),
        ("conf/test/parameters.yml", ("finetune: {", "finetune: {{"), "cannot be read"),
        (
            "conf/base/catalog.yml",
            ('pool.parquet"', 'pool.parquet", load_args: {columns: [text]}'),
            "two seed 0: catalog ",
        ),
        (
            "conf/base/catalog.yml",
            ("", "mine: {type: json.JSONDataset, filepath: mine.json}\n"),
            "",
        ),
        ("conf/test/parameters.yml", ("", "keep: {runs: 3}\n"), ""),
        ("data/01_raw/real_images/metadata.csv", ("", "file_name,text\n"), ""),
    ],
)
@pytest.mark.parametrize("waited", [True, False])
def test_what_changed_while_a_run_waited_or_was_made(
    study: Study,
    made: list[Job],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    edit: tuple[str, str],
    says: str,
    waited: bool,
) -> None:
    """A run that begins has its parameters, and the code of that time; while it is made, its records tell."""
    run, path = runs.run_project(project, print, print, threading.Event()), project / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    plain = path.read_text("utf-8")

    def meanwhile(begin: Callable[[Job], None], job: Job, log: Path) -> int:
        if job.arm == "two" and waited:
            path.write_text(plain.replace(*edit, 1), encoding="utf-8")
        begin(job)
        code = run(job, log)
        if job.arm == "two":
            path.write_text(plain.replace(*edit, 1), encoding="utf-8")
        return code

    monkeypatch.setattr(runs, "run_project", lambda root, begin, *given: partial(meanwhile, begin))
    result = study("{}")
    refused = waited and not says.startswith("two seed 0: ") and says != ""
    assert (result.exit_code == 1) == refused == ("two seed 0: FAILED" in result.output), result.output
    assert (says in result.output) == (waited or not says), result.output
    images = pd.read_parquet(project / "data/study/mine/tables/images.parquet")
    assert {*images["arm"]} == ({"one"} if refused else {"one", "two"})
    if refused or not waited:
        path.write_text(plain, encoding="utf-8")
    done = 1 if refused or (waited and says) else 2  # with what is there now, arm one is another run
    assert f"{done} of 2 runs are done" in study("{}", "--dry-run").output


def test_a_hub_id_whose_branch_moves_is_named_with_what_pins_it(
    study: Study, made: list[Job], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a run, and after it if that was told of another commit; arm one has such ids, too, and reads none."""
    now = ["1" * 40, "2" * 40]
    monkeypatch.setattr(hub, "is_reachable", lambda: False)
    monkeypatch.setattr(hub, "_named_commit", lambda *given: now[0])
    hub.commit_of.cache_clear()
    params = "{model.base: somebody/model}"
    differs = f"model.base is somebody/model ({now[0]}), was somebody/model ({now[1]})"
    vouch = _vouch

    def read_another(*given: Any) -> None:
        hub.commit_of.cache_clear()
        now.reverse()
        vouch(*given)

    monkeypatch.setattr(sys.modules[__name__], "_vouch", read_another)
    result = study(params)
    hub.commit_of.cache_clear()
    pin = "(its branch on the hub moved: name a commit as model.revision, or use a local copy)"
    assert result.exit_code == 1 and f"{differs} {pin}" in result.output, result.output
    planned = StudyJobs(read_study(Path("mine.yml")), project, project / "data/study/mine", print)
    one, two = planned.all()
    now.reverse()
    planned.begin(one)
    with pytest.raises(StudyError) as refused:
        planned.begin(two)
    hub.commit_of.cache_clear()
    assert f"model.base is somebody/model ({now[0]}), was somebody/model ({now[1]}) {pin}" in str(refused.value)


@pytest.mark.parametrize(
    ("pipeline", "params", "same"),
    [
        ("rsi", "{sft.steps: 7, keep.runs: 3}", True),
        ("sft", "{gate.tolerance: 0.1, weighting.enabled: false, keep.runs: 3}", True),
        ("sft", "{gate.samples_per_prompt: 4}", False),
        ("sft", "{sft.steps: 7}", False),
        ("rsi", "{execution.threads: 2}", False),
    ],
)
def test_what_a_step_of_an_arm_reads_decides_whether_it_is_done(
    project: Path, pipeline: str, params: str, same: bool
) -> None:
    bootstrap_project(project)
    text = "env: test\nrounds: 1\nseeds: [0]\narms: {{one: {{pipeline: {0}}}, two: {{pipeline: {0}, params: {1}}}}}\n"
    (project / "mine.yml").write_text(text.format(pipeline, params), encoding="utf-8")
    planned = StudyJobs(read_study(Path("mine.yml")), project, project / "data/study/mine", print)
    one, two = ([each.key for each in planned.plans[job.folder].steps] for job in planned.all())
    assert (one == two) == same


def test_votes_that_are_given_while_a_study_runs_are_those_of_a_later_one(project: Path) -> None:
    bootstrap_project(project)
    arms = "{one: {params: {preference_selection.rewards: {proxy: 0, votes: 1}}}}"
    (project / "mine.yml").write_text(f"env: test\nrounds: 1\nseeds: [0]\narms: {arms}\n", encoding="utf-8")
    planned = StudyJobs(read_study(Path("mine.yml")), project, project / "data/study/mine", print)
    for version in ("1", "2"):
        file = project / "data/test/votes" / version / "votes/votes.parquet"
        file.parent.mkdir(parents=True)
        file.write_text(version, encoding="utf-8")
        if version == "1":
            (job,) = planned.all()
    before = planned.plans[job.folder]
    planned.begin(job)
    assert planned.plans[job.folder].steps == before.steps and job.params["rewards"]["votes"] == {
        "votes": str(file.parents[2] / "1/votes")
    }
    (later,) = planned.all()
    assert planned.plans[later.folder].steps != before.steps


def test_what_a_step_was_made_of_again_is_found_with_what_was_made_of_the_same_before(tmp_path: Path) -> None:
    """As where a blocked word matches nothing: the first step makes the same again, of which all else was made."""

    def record(step: str, version: str, made: dict[str, str], parameters: dict[str, Any], **inputs: str) -> Record:
        return Record(
            step=step,
            version=version,
            outputs=made,
            code="",
            assets="",
            libraries={},
            parameters=parameters,
            inputs=inputs,
            origins=dict.fromkeys(inputs, "1"),
        )

    records = Records(tmp_path / "records")
    later = record("score", "1", {"scores": "c"}, {}, images="b")
    for each in (
        record("collect", "1", {"prompts": "a"}, {"words": []}),
        record("generate", "1", {"images": "b"}, {}, prompts="a"),
        later,
        record("score", "3", {"scores": "d"}, {}, images="other"),
    ):
        records.write(each)
    job = Job("one", 0, 1, tmp_path, None, {})
    wanted = [
        record("collect", "0", {"prompts": ""}, {"words": ["x"]}),
        record("generate", "0", {"images": ""}, {}, prompts=""),
        record("score", "0", {"scores": ""}, {}, images=""),
    ]
    plan = Plan(wanted, {}, [], Measured((), ()), records, {})
    with pytest.raises(StudyError, match=r"made prompts as the study says \(words is \['x'\], was \[\]\)"):
        _made(job, plan, ())
    records.write(record("collect", "2", {"prompts": "a"}, {"words": ["x"]}))
    assert [each.version for each in _made(job, plan, ())] == ["2", "1", "1"]
    (records.folder / later.file_name).unlink()
    with pytest.raises(StudyError, match=r"made scores as the study says \(its input images is different\)"):
        _made(job, plan, ())


def test_an_entry_of_the_catalog_that_is_empty_is_named(study: Study, project: Path) -> None:
    (project / "conf/test/catalog.yml").write_text("mine:\n", encoding="utf-8")
    result = study("{}")
    assert result.exit_code == 1 and "Error: the catalog's entry 'mine' has no text as its type" in result.output


def test_a_round_that_the_study_does_not_test_is_not_measured(study: Study, made: list[Job]) -> None:
    result = study("{evaluation.test_every: 2}")
    assert "two seed 0: FAILED" in result.output and "as the study says (" in result.output
    assert "1 of 2 runs are done" in study("{}", "--dry-run").output


def _delete(data: Path) -> None:
    data.rename(data.with_name("moved"))


def _damage(data: Path) -> None:
    next(data.rglob("metrics.json/*/metrics.json")).write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("change", [_delete, _damage])
def test_a_run_whose_results_are_not_there_is_made_again(
    study: Study, made: list[Job], project: Path, change: Callable[[Path], None]
) -> None:
    study("{}")
    change(project / "data/study/mine/two/seed_0/data")
    assert "1 of 2 runs are done" in study("{}", "--dry-run").output
    result = study("{}")
    assert result.exit_code == 0 and "two seed 0: done in " in result.output, result.output
    assert [job.arm for job in made] == ["one", "two", "two"]
    assert "2 of 2 runs are done" in study("{}", "--dry-run").output


def test_results_that_vanish_during_a_study_cost_no_other_run_its_place_on_the_page(
    study: Study, made: list[Job], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.run_project(project, print, print, threading.Event())

    def vanish(job: Job, log: Path) -> int:
        if job.arm == "two":
            _delete(project / "data/study/mine/one/seed_0/data")
        return run(job, log)

    monkeypatch.setattr(runs, "run_project", lambda *given: vanish)
    result = study("{}")
    assert result.exit_code == 1, result.output
    assert "one seed 0: FAILED, no run in " in result.output
    assert "1 of 2 runs failed (one seed 0)" in result.output
    page = (project / "data/study/mine/results.md").read_text("utf-8")
    assert "**Not in the figures, because they did not come to their end: one seed 0.**" in page


@pytest.mark.parametrize("option", ["", "--dry-run", "--only-page"])
def test_a_study_of_the_same_name_does_not_share_the_folder(
    study: Study, made: list[Job], project: Path, option: str
) -> None:
    study("{}")
    page = (project / "data/study/mine/results.md").read_bytes()
    other = project / "later" / "mine.yml"
    other.parent.mkdir()
    other.write_text(GOOD.format(params="{gate.enabled: false}"), encoding="utf-8")
    call = ["rsi", "study", str(other.relative_to(project)), *filter(None, [option])]
    result = CliRunner().invoke(cli, call)
    assert result.exit_code == 1 and f"holds the runs of the study {project}/mine.yml, which has" in result.output
    assert len(made) == 2 and (project / "data/study/mine/results.md").read_bytes() == page
    given = CliRunner().invoke(cli, [*call, "--tables=data/study/mine/tables", "--page=page.md"])
    assert (given.exit_code == 0) == (option == "--only-page")
    (project / "mine.yml").unlink()  # moved
    assert CliRunner().invoke(cli, call).exit_code == 0


def _without_versions(data: Path) -> None:
    for file in [*data.rglob("metrics.json/*/metrics.json")]:
        folder = file.parents[1]
        content = file.read_bytes()
        shutil.rmtree(folder)
        folder.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "kind", "change", "says"),
    [
        ("metrics", "rsidiff_kedro.datasets.JSONDataset", _without_versions, "two seed 0: done in "),
        ("validation_scores", "pandas.ParquetDataset", None, "two seed 0: done in "),
        ("test_scores", "pandas.ParquetDataset", None, "gives rsi.round_0.test_scores no type"),
        ("metrics", "json.JSONDataset", None, "gives rsi.round_0.metrics no type"),
    ],
)
def test_what_is_measured_may_have_no_versions_and_what_is_not_another_package_s_type(
    study: Study,
    made: list[Job],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: str,
    change: Callable[[Path], None] | None,
    says: str,
) -> None:
    """What cannot be measured is refused before the first run."""
    run = runs.run_project(project, print, print, threading.Event())

    def changed(job: Job, log: Path) -> int:
        code = run(job, log)
        if change is not None:
            change(job.folder / "data")
        return code

    monkeypatch.setattr(runs, "run_project", lambda *given: changed)
    place = f"${{globals:data}}/08_reporting/{{method}}/round_{{n}}/{name}.json"
    entry = f'"{{method}}.round_{{n}}.{name}": {{type: {kind}, filepath: "{place}"}}'
    (project / "conf/test/catalog.yml").write_text(entry, encoding="utf-8")
    result = study("{}")
    assert says in result.output, result.output
    assert (result.exit_code == 0) == (len(made) == 2) == ("done in" in says)
    if made:
        metrics = pd.read_parquet(project / "data/study/mine/tables/metrics.parquet")
        assert [*metrics.groupby("arm")["round"].nunique()] == [3, 3]
        assert "2 of 2 runs are done" in study("{}", "--dry-run").output


def test_who_may_not_write_makes_tables_of_a_finished_study(
    study: Study, made: list[Job], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study("{}")
    owner = project / "data/study/mine/file.txt"
    assert owner.read_text(encoding="utf-8") == "mine.yml"
    owner.unlink()  # as of an earlier version
    elsewhere = ["--tables=elsewhere", "--page=page.md"]
    assert study("{}", *elsewhere).exit_code == 0 and not owner.exists()
    shutil.rmtree(project / "data/study/mine/two")
    owner.write_text("mine.yml", encoding="utf-8")
    before = owner.stat()
    assert study("{}", *elsewhere).exit_code == 0 and len(made) == 3
    assert (owner.stat().st_ino, owner.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_run_of_another_catalog_is_not_done(study: Study, made: list[Job], project: Path) -> None:
    study("{}")
    catalog = project / "conf/base/catalog.yml"
    plain = catalog.read_text(encoding="utf-8")
    place = 'data}/03_primary/prompt_pool.parquet"'
    catalog.write_text(plain.replace(place, 'data}/03_primary/pool.parquet"'), encoding="utf-8")
    assert "2 of 2 runs are done" in study("{}", "--dry-run").output
    catalog.write_text(plain.replace(place, f"{place}, load_args: {{filters: [[text, '>', b]]}}"), encoding="utf-8")
    assert "0 of 2 runs are done" in study("{}", "--dry-run").output


def test_a_run_whose_plug_in_has_changed_is_not_done(
    study: Study, made: list[Job], project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in that lies neither in the package nor in the project, by the name that a package registers."""
    reward = "def score(images, prompts):\n    return [{} for _ in images]\n"
    module = tmp_path / "elsewhere_rewards.py"
    module.write_text(reward.format("1.0"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(REWARDS._paths, "elsewhere", "elsewhere_rewards:score")
    params = "{preference_selection.rewards: {proxy: 0, elsewhere: 1}}"
    study(params)
    assert "2 of 2 runs are done" in study(params, "--dry-run").output
    said = list[str]()
    planned = StudyJobs(read_study(Path("mine.yml")), project, project / "data/study/mine", said.append)
    one, two = planned.all()
    module.write_text(reward.format("-1.0"), encoding="utf-8")
    planned.begin(one)
    planned.begin(two)
    assert said == ["two seed 0: code changed since the study began; it is made with what is there now"]
    assert "1 of 2 runs are done" in study(params, "--dry-run").output


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("compare: [[one, 3]]", "parameter 'compare.0.1' is 3: input should be a valid string"),
        ("compare: [[one, two, 0]]", "parameter 'compare.0.2' is 0: input should be greater than or equal to 1"),
        ("compare: [[one, two, null]]", "parameter 'compare.0.2' is None"),
    ],
)
def test_a_comparison_that_is_none_is_named(study: Study, project: Path, rest: str, says: str) -> None:
    study("{}", "--dry-run")
    (project / "wrong.yml").write_text(GOOD.format(params="{}") + rest + "\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["rsi", "study", "wrong.yml", "--dry-run"])
    assert result.exit_code == 1 and says in result.output, result.output


@pytest.mark.parametrize(
    ("params", "rest", "says"),
    [
        (
            "{evaluation.test_every: 2}}, three: {rounds: 1",
            "compare: [[one, two], [three, two]]",
            "three and two are compared, but no round of both is tested except the base (three after rounds 0, 1; two "
            "after rounds 0, 2)",
        ),
        (
            "{evaluation.rewards: []}",
            "claims: [{says: It rises., of: [two, 2], over: [two, 0], measure: reward hpsv2_1}]",
            "the claim 'It rises.' is about 'reward hpsv2_1', which two does not measure; name one of accuracy, "
            "hallucination rate, diversity, reward proxy, or",
        ),
    ],
)
def test_what_will_not_be_measured_is_refused_before_the_first_run(
    study: Study, made: list[Job], params: str, rest: str, says: str
) -> None:
    result = study(f"{params}}}}}\n{rest}  # ")
    assert result.exit_code == 1 and says in result.output, result.output
    assert not made


def test_a_failed_run_ends_the_command_with_code_one(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(job: Job, log: Path) -> int:
        log.write_text("no such thing\n", encoding="utf-8")
        return 2

    monkeypatch.setattr(runs, "run_project", lambda *given: run)
    result = study("{}")
    assert result.exit_code == 1
    assert "  no such thing" in result.output and "2 of 2 runs failed (one seed 0, two seed 0)" in result.output


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yml")), ids=lambda path: path.stem)
def test_the_studies_of_this_project_can_be_run(project: Path, path: Path) -> None:
    settings = read_study(path)
    tree = open_configuration(settings.env)[1]["parameters"]
    plain = parse_parameters(tree)
    parsed = {name: parse_parameters(merge(tree, nested(arm.params, name))) for name, arm in settings.arms.items()}
    for name, arm in settings.arms.items():
        assert (parsed[name] != plain) == bool(arm.params), name
    measured = {name: measured_by(parsed[name], settings.rounds_of(name), settings.split) for name in parsed}
    settings.check_measured(measured)


def test_paths_of_an_arm_start_at_the_project(study: Study, made: list[Job], project: Path) -> None:
    study("{sft.images: pictures}")
    by_arm = {job.arm: job for job in made}
    assert by_arm["two"].params["sft"]["images"] == str(project / "pictures")
    assert yaml.safe_load(yaml.safe_dump(dict(by_arm["two"].params)))["rounds"] == 2
