"""Data without versions and named versions: what is reused is what was made, in this project's session and Kedro's."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog
from kedro.io.core import Version
from kedro.pipeline import Pipeline, node
from kedro.runner import AbstractRunner, ParallelRunner, SequentialRunner, ThreadRunner
from kedro_datasets.json import JSONDataset as PlainJSONDataset

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.datasets import (
    AdapterDataset,
    ImageSetDataset,
    JSONDataset,
    ParquetDataset,
    PretrainedDataset,
    TrainingSetDataset,
    VotesDataset,
)
from rsidiff_kedro.hooks.pinned import LoadVersionError, UnversionedError, check_hidden_versions
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.hooks.session import RsiSession
from rsidiff_kedro.hooks.supported_runner import RunnerError
from rsidiff_kedro.provenance.records import Records

Run = Callable[..., None]
COLLECT = {"pipeline_names": ["prompt_curation"], "node_names": ["prompt_curation.collect_prompts"]}
FILTER = {"pipeline_names": ["prompt_curation"], "node_names": ["prompt_curation.filter_prompts"]}
BOTH = {
    "pipeline_names": ["prompt_curation"],
    "node_names": ["prompt_curation.collect_prompts", "prompt_curation.filter_prompts"],
}
UNVERSIONED = """
collected_prompts:
  type: rsidiff_kedro.datasets.ParquetDataset
  filepath: ${globals:data}/01_raw/collected_prompts.parquet
  versioned: false
"""


@pytest.fixture
def run(project: Path) -> Run:
    """`run(KedroSession, seed=1, **options of session.run)`: a run in the environment test."""

    def run(session_class: type[KedroSession] = RsiSession, seed: int = 0, **options: Any) -> None:
        with session_class.create(project, env="test", runtime_params={"seed": seed}) as session:
            session.run(**options)

    return run


@pytest.fixture
def unversioned(project: Path) -> Path:
    """Have the collected prompts saved without versions; return their file."""
    (project / "conf/test/catalog.yml").write_text(UNVERSIONED)
    return project / "data/test/01_raw/collected_prompts.parquet"


def test_what_has_no_versions_is_made_again_for_other_parameters(run: Run, unversioned: Path, project: Path) -> None:
    run(seed=0, **BOTH)
    first = pd.read_parquet(unversioned)
    run(seed=1, only_missing_outputs=True, **BOTH)
    second = pd.read_parquet(unversioned)
    assert not first.equals(second)
    made = [
        record
        for record in Records(project / "data/test/lineage").all()
        if record.step == "prompt_curation.filter_prompts"
    ]
    assert len({record.inputs["collected_prompts"] for record in made}) == 2
    run(seed=0, only_missing_outputs=True, **BOTH)
    assert pd.read_parquet(unversioned).equals(first)


@pytest.mark.parametrize("runner", [None, SequentialRunner])
def test_kedros_session_refuses_to_skip_what_has_no_versions(
    run: Run, unversioned: Path, project: Path, runner: type[AbstractRunner] | None
) -> None:
    run(KedroSession, runner=runner and runner(), only_missing_outputs=True, **BOTH)  # nothing is there to be skipped
    before = {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*") if path.is_file()}
    with pytest.raises(UnversionedError, match="collected_prompts without versions may be of other parameters"):
        run(KedroSession, seed=1, runner=runner and runner(), only_missing_outputs=True, **BOTH)
    assert {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*") if path.is_file()} == before
    run(KedroSession, seed=1, runner=RsiRunner(), only_missing_outputs=True, **BOTH)
    run(KedroSession, seed=0, **BOTH)


@pytest.mark.parametrize("options", [COLLECT, FILTER], ids=["saved", "read"])
@pytest.mark.parametrize(("session", "error"), [(KedroSession, UnversionedError), (RsiSession, click.ClickException)])
def test_a_dataset_without_versions_is_refused_where_versions_lie(
    run: Run, project: Path, options: dict[str, Any], session: type[KedroSession], error: type[Exception]
) -> None:
    for seed in range(2):
        run(seed=seed, **COLLECT)
    (project / "conf/test/catalog.yml").write_text(UNVERSIONED)
    before = {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*") if path.is_file()}
    with pytest.raises(error, match=r"collected_prompts has no versions in catalog.yml, but 2 versions of it lie in"):
        run(session, **options)
    assert {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("options", [COLLECT, FILTER], ids=["saved", "read"])
def test_a_dataset_with_versions_is_refused_where_a_copy_without_lies(
    run: Run, unversioned: Path, project: Path, options: dict[str, Any]
) -> None:
    run(**COLLECT)
    (project / "conf/test/catalog.yml").unlink()
    with pytest.raises(click.ClickException, match=r"collected_prompts has versions in .* but a copy without"):
        run(**options)
    assert unversioned.is_file()


FOREIGN = ["Thumbs.db", "desktop.ini", "README.md", ".x"]


@pytest.mark.parametrize("versions", [["2026"], []], ids=["versions", "no versions"])
@pytest.mark.parametrize(
    ("dataset", "files", "copy"),
    [
        (AdapterDataset, ["adapter.json", "pytorch_lora_weights.safetensors"], "adapter.json"),
        (ImageSetDataset, ["metadata.parquet", "images/a.png"], "metadata.parquet"),
        (TrainingSetDataset, ["metadata.parquet", "latents.safetensors"], "latents.safetensors"),
        (partial(PretrainedDataset, class_name="a.B"), ["config.json", "model.safetensors"], "config.json"),
        (VotesDataset, ["votes.parquet", "images/a.png"], "votes.parquet"),
        (ParquetDataset, ["a.parquet"], None),  # a copy would be no folder
        (JSONDataset, ["a.json"], None),
    ],
)
def test_a_foreign_file_beside_versions_is_no_copy_without_them(
    tmp_path: Path, dataset: Callable[..., Any], files: list[str], copy: str | None, versions: list[str]
) -> None:
    place = tmp_path / "a"
    catalog = DataCatalog({"a": dataset(filepath=str(place), version=Version(None, "2027"))})
    pipeline = Pipeline([node(len, "a", "b")])
    for name in [*(f"{version}/a/{file}" for version in versions for file in files), "other/folder", *FOREIGN]:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()
    check_hidden_versions(pipeline, catalog)
    for name in files:
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).touch()
    said = re.escape(
        f"a has versions in catalog.yml, but a copy without versions lies there, {place / str(copy)}; move"
    )
    with pytest.raises(UnversionedError, match=said) if copy else nullcontext():
        check_hidden_versions(pipeline, catalog)


@pytest.mark.parametrize(("files", "is_refused"), [(["2026/a/x", "x"], False), (["x"], True), ([".x"], False)])
def test_any_file_may_be_a_copy_of_a_dataset_that_does_not_name_its_own(
    tmp_path: Path, files: list[str], is_refused: bool
) -> None:
    for name in files:
        (tmp_path / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a" / name).touch()
    catalog = DataCatalog({"a": PlainJSONDataset(filepath=str(tmp_path / "a"), version=Version(None, "2027"))})
    with pytest.raises(UnversionedError, match=r"lies there, .*/a/x; move") if is_refused else nullcontext():
        check_hidden_versions(Pipeline([node(len, "a", "b")]), catalog)


def test_kedros_session_resumes_what_has_versions(run: Run, project: Path) -> None:
    for _ in range(2):
        run(KedroSession, only_missing_outputs=True, **BOTH)
    run(KedroSession, seed=1, only_missing_outputs=True, **BOTH)
    made = Records(project / "data/test/lineage").all()
    assert (
        sorted(record.step for record in made)
        == ["prompt_curation.collect_prompts"] * 2 + ["prompt_curation.filter_prompts"] * 2
    )


@pytest.mark.parametrize("runner", [ParallelRunner, ThreadRunner])
def test_kedros_session_refuses_other_runners(run: Run, project: Path, runner: type[AbstractRunner]) -> None:
    with pytest.raises(RunnerError, match=f"{runner.__name__} is not supported: rounds are a chain"):
        run(KedroSession, runner=runner(), **COLLECT)
    assert not (project / "data").exists()


class OwnRunner(RsiRunner):
    """A runner that knows of reuse."""


class OtherRunner(SequentialRunner):
    """A runner that does not."""


def test_a_runner_of_ones_own_is_accepted_if_it_is_one_of_this_project(run: Run) -> None:
    for session in (KedroSession, RsiSession):
        run(session, runner=OwnRunner(), **COLLECT)
    with pytest.raises(InputError, match="OtherRunner is not supported"):
        run(KedroSession, runner=OtherRunner(), **COLLECT)


@pytest.mark.parametrize("only_missing", [False, True])
@pytest.mark.parametrize(("session", "error"), [(KedroSession, LoadVersionError), (RsiSession, click.ClickException)])
def test_a_named_version_of_what_the_run_makes_is_refused(
    run: Run, session: type[KedroSession], error: type[Exception], only_missing: bool
) -> None:
    given = {"load_versions": {"collected_prompts": "2030-01-01T00.00.00.000Z"}, "only_missing_outputs": only_missing}
    with pytest.raises(error, match="'collected_prompts', which this run makes itself"):
        run(session, **BOTH, **given)


def test_a_named_version_that_no_step_reads_is_refused(run: Run) -> None:
    with pytest.raises(click.ClickException, match="'prompt_pool', which no step of this run reads"):
        run(load_versions={"prompt_pool": "2030-01-01T00.00.00.000Z"}, **COLLECT)


@pytest.mark.parametrize(("session", "error"), [(KedroSession, LoadVersionError), (RsiSession, click.ClickException)])
def test_a_named_version_of_what_has_none_is_refused(
    run: Run, unversioned: Path, session: type[KedroSession], error: type[Exception]
) -> None:
    with pytest.raises(error, match="'collected_prompts', which has no versions"):
        run(session, load_versions={"collected_prompts": "2030-01-01T00.00.00.000Z"}, **FILTER)


def test_a_named_version_is_the_one_that_is_read(run: Run, project: Path) -> None:
    run(seed=0, **COLLECT)
    run(seed=1, **COLLECT)
    oldest, newest = sorted(path.name for path in (project / "data/test/01_raw/collected_prompts.parquet").iterdir())
    for version in (oldest, newest, oldest):
        run(seed=1, load_versions={"collected_prompts": version}, only_missing_outputs=True, **FILTER)
    made = [
        record
        for record in Records(project / "data/test/lineage").all()
        if record.step == "prompt_curation.filter_prompts"
    ]
    assert [record.origins["collected_prompts"] for record in made] == [oldest, newest]


def test_data_that_another_run_overwrites_while_it_is_read_ends_the_run(
    run: Run, unversioned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rsidiff_kedro.datasets import ParquetDataset

    run(seed=1, **COLLECT)
    other = unversioned.read_bytes()
    run(seed=0, **COLLECT)
    load = ParquetDataset.load

    def load_late(dataset: ParquetDataset) -> Any:
        unversioned.write_bytes(other)  # as a run beside this one does
        return load(dataset)

    monkeypatch.setattr(ParquetDataset, "load", load_late)
    with pytest.raises((click.ClickException, UnversionedError), match="has changed since this run began"):
        run(seed=0, node_names=["prompt_curation.filter_prompts"], pipeline_names=["prompt_curation"])
