"""Reading `conf/`: layers that extend each other, and sections that replace those of another kind."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from another_user import as_another_user
from hypothesis import given
from hypothesis import strategies as st

from rsidiff_kedro.hooks.configuration import merge, open_configuration
from rsidiff_kedro.hooks.session import RsiSession
from rsidiff_kedro.parameters import parse_parameters
from rsidiff_kedro.provenance.records import Records

FILE = {"kind": "file", "path": "prompts.txt"}
trees = st.recursive(
    st.integers() | st.none(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


def add(project: Path, environment: str, extends: str | None = None, **files: Any) -> None:
    """Write an environment: `add(project, "mine", extends="test", parameters={"rounds": 3})`."""
    folder = project / "conf" / environment
    folder.mkdir(exist_ok=True)
    for name, content in {"globals": {"extends": extends} if extends else {}, **files}.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content) if content else "")


def load(environment: str | None = None, key: str = "parameters", **params: Any) -> dict[str, Any]:
    return open_configuration(environment, params)[1][key]


def test_a_section_of_another_kind_replaces_the_one_below() -> None:
    below = {"source": {"kind": "grammar", "count": 400, "two_objects": 0.4}, "seed": 0}
    assert merge(below, {"source": FILE}) == {"source": FILE, "seed": 0}


def test_a_section_of_the_same_kind_or_of_none_names_only_what_differs() -> None:
    below = {"source": {"kind": "grammar", "count": 400, "two_objects": 0.4}}
    for above in ({"count": 24}, {"kind": "grammar", "count": 24}):
        merged = merge(below, {"source": above})
        assert merged == {"source": {"kind": "grammar", "count": 24, "two_objects": 0.4}}


def test_only_the_section_that_names_another_kind_is_replaced() -> None:
    below = {"curation": {"source": {"kind": "grammar", "count": 400}, "pool_size": 250, "probe": {"reward": "proxy"}}}
    merged = merge(below, {"curation": {"source": FILE, "probe": {"samples": 1}}})
    assert merged == {
        "curation": {"source": FILE, "pool_size": 250, "probe": {"reward": "proxy", "samples": 1}},
    }


def test_a_value_replaces_a_section_and_a_section_a_value() -> None:
    assert merge({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert merge({"a": None}, {"a": {"b": 1}}) == {"a": {"b": 1}}
    assert merge({"a": [1, 2]}, {"a": [3]}) == {"a": [3]}


@given(trees, trees)
def test_a_merge_keeps_every_name_and_leaves_both_layers_as_they_are(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    before = repr((below, above))
    merged = merge(below, above)
    assert merged.keys() == below.keys() | above.keys()
    assert all(merged[name] == below[name] for name in below.keys() - above.keys())
    assert merge(merged, above) == merged
    assert repr((below, above)) == before


def test_test_extends_scenes_which_lies_on_base(project: Path) -> None:
    parameters = load("test")
    assert parameters["rounds"] == 2  # of conf/test
    assert parameters["model"]["base"] == "scenes"  # of conf/scenes
    assert parameters["sft"]["text_column"] == "text"  # of conf/base
    expected = {"runtime": "torch", "num_inference_steps": 3, "guidance_scale": 2.0, "micro_batch_size": 8}
    assert parameters["sampler"] == expected
    assert "base_model.{name}_corpus" in load("test", "catalog")
    assert load("test", "globals") == {"data": "data/test"}


def test_the_default_environment_is_scenes_and_then_local(project: Path) -> None:
    assert load() == load("scenes")
    add(project, "local", parameters={"sampler": {"num_inference_steps": 5}})
    assert load()["sampler"] == load("scenes")["sampler"] | {"num_inference_steps": 5}
    assert load("scenes")["sampler"]["num_inference_steps"] == 8


def test_an_environment_may_extend_one_that_extends_another(project: Path) -> None:
    add(project, "mine", extends="test", parameters={"rounds": 3, "prompt_curation": {"source": FILE}})
    parameters = load("mine", finetune={"rank": 7})
    assert (parameters["rounds"], parameters["finetune"]["rank"]) == (3, 7)
    assert parameters["prompt_curation"]["pool_size"] == load("test")["prompt_curation"]["pool_size"]
    assert parameters["prompt_curation"]["source"] == FILE
    assert parse_parameters(parameters).prompt_curation.source.kind == "file"
    assert load("mine", "globals") == {"data": "data/test"}


@pytest.mark.parametrize("name", ["my project [v2]", "a*b?", "50%20 quo\"te'"])
def test_a_project_may_lie_in_a_folder_of_any_name(
    new_project: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    project = new_project(tmp_path / name)
    monkeypatch.chdir(project)
    (project / "conf").rename(tmp_path / "conf")
    (project / "conf").symlink_to(tmp_path / "conf")  # as in the runs of a study
    assert load("test")["rounds"] == 2
    assert "prompt_pool" in load("test", "catalog")
    for seed in (0, 1):
        with RsiSession.create(project, env="test", runtime_params={"seed": seed}) as session:
            session.run(pipeline_names=["prompt_curation"], node_names=["prompt_curation.collect_prompts"])
    with RsiSession.create(project, env="test", runtime_params={"seed": 2}) as session:
        session.run(
            pipeline_names=["prompt_curation"], node_names=["prompt_curation.filter_prompts"]
        )  # reads the newest version
    records = Records(project / "data/test/lineage").all()
    newest = max(record.version for record in records if record.step == "prompt_curation.collect_prompts")
    assert [record.origins for record in records if record.step == "prompt_curation.filter_prompts"] == [
        {"collected_prompts": newest}
    ]


@pytest.mark.parametrize("name", ["{v2}", "a}b"])
def test_braces_in_the_name_of_the_folder_are_refused(
    new_project: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    project = new_project(tmp_path / name)
    monkeypatch.chdir(project)
    with RsiSession.create(project, env="test") as session, pytest.raises(click.UsageError, match="rename the folder"):
        session.load_context()


def test_sections_of_another_kind_are_replaced_by_a_command_line_too(project: Path) -> None:
    assert load(prompt_curation={"source": FILE})["prompt_curation"]["source"] == FILE
    assert load(prompt_curation={"source": {"count": 300}})["prompt_curation"]["source"]["two_objects"] == 0.4


@pytest.mark.parametrize("extends", [["test", "scenes"], 5])
def test_an_environment_extends_one_other(project: Path, extends: Any) -> None:
    add(project, "mine", extends=extends)
    with pytest.raises(click.UsageError, match=r"'extends' in the globals.yml of 'mine' is .*; name one environment"):
        load("mine")


def test_the_home_folder_may_be_named_in_globals_and_catalog(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    own = {"type": "pandas.ParquetDataset", "filepath": "~/own.parquet"}
    add(project, "mine", globals={"extends": "test", "data": "~/rsi"}, catalog={"own": own})
    catalog = load("mine", "catalog")
    assert load("mine", "globals")["data"] == f"{tmp_path}/rsi"
    assert catalog["own"]["filepath"] == f"{tmp_path}/own.parquet"
    assert catalog["prompt_pool"]["filepath"].startswith(f"{tmp_path}/rsi/")
    assert load("mine")["rewards"]["votes"]["votes"].startswith(f"{tmp_path}/rsi/")


def test_environments_that_extend_each_other_in_a_circle_are_refused(project: Path) -> None:
    add(project, "one", extends="two")
    add(project, "two", extends="three")
    add(project, "three", extends="one")
    with pytest.raises(click.UsageError, match=r"environments one, two, three extend each other in a circle; correct"):
        load("one")
    add(project, "alone", extends="alone")
    with pytest.raises(click.UsageError, match="environments alone extend each other in a circle"):
        load("alone")


def test_an_environment_that_extends_an_unknown_one_is_refused_with_those_there_are(project: Path) -> None:
    add(project, "mine", extends="scene")
    with pytest.raises(
        click.UsageError, match=r"no environment 'scene' in .*; there are base, flux, local, mine, sana, scenes,"
    ):
        load("mine")


@pytest.mark.parametrize(
    ("links", "of"),
    [
        ({}, "../lab"),
        ({}, "../../lab"),
        ({}, "/lab"),
        ({"mine/globals.yml": "..data/globals.yml", "mine/parameters.yml": "..data/parameters.yml",
          "mine/..data": "..2026_11_29"}, "mine/..2026_11_29"),  # as Kubernetes mounts a ConfigMap
        ({"mine": "../.dotfiles/rsi"}, "../.dotfiles/rsi"),
        ({"mine/globals.yml": "../../.dotfiles/g.yml", "mine/parameters.yml": "../../.dotfiles/parameters.yml"},
         "../.dotfiles"),
        ({"mine/itself": ".", "mine/again": ".", "mine/conf": "..", "mine/project": "../..", "mine/rsi/up": ".."},
         "mine"),  # which are not followed
        ({"mine/notes.yml": "/nowhere", "mine/key.json": "/nowhere", "mine/cache": "/nowhere"}, "mine"),
        ({}, "mine"),
    ],
)  # fmt: skip
def test_settings_count_behind_links_and_wherever_the_environment_is(
    project: Path, caplog: pytest.LogCaptureFixture, links: dict[str, str], of: str
) -> None:
    conf = project / "conf"
    of = f"{project.parent}{of}" if of.startswith("/") else of
    (conf / "mine/rsi").mkdir(parents=True)
    for name in ("mine", of):
        (conf / name).mkdir(parents=True, exist_ok=True)
    for name in ("globals.yml", "g.yml"):
        (conf / of / name).write_text("extends: test")
    (conf / of / "parameters.yml").write_text("seed: 4242")
    (conf / of / ".parameters.yml").write_text("seed: 1")  # an editor's
    if "mine" in links:
        shutil.rmtree(conf / "mine")
    for link, target in links.items():
        (conf / link).symlink_to(target)
    add(project, "above", extends=of)
    for environment in ("above", "mine" if links else of):
        parameters = load(environment)
        assert (parameters["seed"], parameters["rounds"]) == (4242, 2)
    assert not caplog.records


@pytest.mark.parametrize("name", ["lab", "parameters", "rsi/lab"])
def test_a_folder_of_settings_behind_a_link_that_is_not_followed_is_refused(project: Path, name: str) -> None:
    file = "any.yml" if name == "parameters" else "catalog_own.json"
    add(project, "mine", extends="test")
    (project / "conf/mine/rsi").mkdir()
    (project / "lab").mkdir()
    (project / "conf/mine" / name).symlink_to(project / "lab")
    assert load("mine")["rounds"] == 2
    (project / "lab" / file).write_text("{}")
    with pytest.raises(click.UsageError, match=f"conf/mine/{name} is a link to a folder, .*so {file} in it would not"):
        load("mine")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(
    "closed", ["mine", "mine/catalog_more", "mine/parameters.yml", "mine/linked/parameters.yml", "", "mine/more"]
)
def test_settings_that_this_user_cannot_read_are_refused(
    project: Path, caplog: pytest.LogCaptureFixture, closed: str
) -> None:
    for folder in [project, *project.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o055)
    add(project, "mine", parameters={"seed": 5})
    for name in ("catalog_more", "linked", "more"):
        (project / "conf/mine" / name).mkdir()
    if "linked" in closed:
        (project / "conf" / closed).symlink_to("/nowhere")
    else:
        (project / "conf" / closed).chmod(0o700)

    said = f"{project / 'conf' / closed}".rstrip("/") + " cannot be read (Permission denied), so "
    if "linked" in closed:
        said = said.replace("Permission denied", "No such file or directory")
    elif closed == "mine/parameters.yml":
        said = "cannot be read: "

    def part() -> int:
        if closed == "mine/more":  # which may hold anything
            return int(load("mine")["seed"] != 5 or said not in caplog.text)
        with pytest.raises(click.UsageError) as refused:
            load("mine")
        return int(said not in str(refused.value))

    assert as_another_user(part) == 0


def test_an_unread_file_with_almost_the_name_of_one_that_is_read_is_named(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    near = ["Parameters.yml", "catalog.yml.txt", "credential.yml", "global.yml", "globals.yaml", "parameter.yml"]
    near += ["parameter_sft.yaml", "parameters.YML", "params.yaml", "params.yml", "paramters.json"]
    others = ["logging.yml", "spark.yml", "grid.yml", "parameters.yml~", "parameters.md", "catalog_2/more.yml"]
    others += ["backup/globals.yml", "backup/params.yml"]
    add(project, "mine", extends="test", parameters={"seed": 5}, catalog_own=None, mlflow_own=None)
    (project / "conf/mine/catalog_2").mkdir()
    (project / "conf/mine/backup").mkdir()
    for name in (*near, *others, ".parameter.yml"):
        (project / "conf/mine" / name).write_text("")
    load("mine")
    assert [Path(record.args[0]).name for record in caplog.records] == near
    assert "is not read: names of files in conf/ begin with parameters" in caplog.text


def test_an_environment_that_extends_nothing_lies_on_base_alone(project: Path) -> None:
    add(project, "mine", parameters={"seed": 5})
    assert load("mine") == load("base") | {"seed": 5}


def test_changed_parameters_are_those_of_the_command_line_and_of_local(project: Path) -> None:
    add(project, "local", parameters={"finetune": {"steps": 7, "batch_size": 32}})
    loader = open_configuration(None, {"rounds": 2})[1]
    assert loader.changed_parameters() == {"finetune.steps": (7, 100), "rounds": (2, 6)}


def test_an_environment_changes_nothing_by_itself(project: Path) -> None:
    assert open_configuration("test")[1].changed_parameters() == {}
