"""A run reads what it made itself, or what a record says is the same."""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.io.core import Version
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner
from kedro_datasets.json import JSONDataset

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.datasets import AdapterDataset
from rsidiff_kedro.hooks.reuse import LineageHooks
from rsidiff_kedro.provenance.records import Records

Run = Callable[..., list[str]]
STEPS = ["draw", "score", "report"]


def run_with_lineage(pipeline: Pipeline, catalog: DataCatalog, folder: Path, run_id: str, reuse: bool = True) -> None:
    """Run as Kedro does, with the records in this folder."""
    hooks = LineageHooks()
    hooks._records = Records(folder / "lineage")
    manager = _create_hook_manager()
    manager.register(hooks)
    given = {"only_missing_outputs": reuse, "run_id": run_id}
    manager.hook.before_pipeline_run(run_params=given, pipeline=pipeline, catalog=catalog)
    SequentialRunner().run(pipeline, catalog, manager, only_missing_outputs=reuse)


@pytest.fixture
def run(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("1", steps=3, reuse=True)`: runs draw → score → report as run 1; gives the steps that were computed."""
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    caplog.set_level(logging.INFO, "rsidiff_kedro")

    def run(
        run_id: str, reuse: bool = True, fails: str = "", only: Sequence[str] = STEPS, **parameters: object
    ) -> list[str]:
        computed: list[str] = []

        def step(name: str) -> Callable[..., object]:
            def compute(*inputs: object) -> object:
                computed.append(name)
                if name == fails:
                    raise RuntimeError(name)
                return [name, *inputs]

            return compute

        values = {"seed": 0, "steps": 3} | parameters
        catalog = DataCatalog({f"params:{name}": MemoryDataset(value) for name, value in values.items()})
        for name in ("images", "scores", "page"):
            catalog[name] = JSONDataset(filepath=str(tmp_path / f"{name}.json"), version=Version(None, run_id))
        pipeline = Pipeline(
            [
                node(step("draw"), ["params:seed"], "images", name="draw"),
                node(step("score"), ["images", "params:steps"], "scores", name="score"),
                node(step("report"), ["scores"], "page", name="report"),
            ]
        )
        monkeypatch.setattr("rsidiff_kedro.hooks.reuse.pipelines", {"all": pipeline})
        try:
            run_with_lineage(pipeline.only_nodes(*only), catalog, tmp_path, run_id, reuse)
        except RuntimeError:
            assert fails
        else:
            assert "report" not in only or catalog.load("page")[0] == "report"
        return computed

    return run


def test_a_plain_run_makes_everything(run: Run) -> None:
    assert run("1", reuse=False) == STEPS
    assert run("2", reuse=False) == STEPS


def test_what_is_the_same_is_reused(run: Run) -> None:
    run("1", reuse=False)
    assert run("2") == []


def test_a_changed_parameter_redoes_what_depends_on_it_and_says_so(run: Run, caplog) -> None:
    run("1")
    assert run("2", steps=4) == ["score", "report"]
    assert "score: steps is 4, was 3" in caplog.text
    assert "report: an input is made again" in caplog.text
    assert "1 of 3 steps are reused" in caplog.text


def test_going_back_to_earlier_parameters_reuses_what_they_made(run: Run) -> None:
    run("1")
    run("2", steps=4)
    assert run("3") == []


def test_a_run_that_failed_goes_on_where_it_stopped(run: Run) -> None:
    assert run("1", fails="score") == ["draw", "score"]
    assert run("2") == ["score", "report"]


def test_a_deleted_output_is_made_again(run: Run, tmp_path: Path, caplog) -> None:
    run("1")
    shutil.rmtree(tmp_path / "images.json" / "1")
    assert run("2") == ["draw"]
    assert "draw: images is gone" in caplog.text


def test_an_output_without_a_record_is_not_trusted(run: Run, tmp_path: Path) -> None:
    run("1")
    shutil.rmtree(tmp_path / "lineage")
    assert run("2") == STEPS


def test_a_run_does_not_read_what_a_run_beside_it_made(run: Run, tmp_path: Path) -> None:
    run("1", seed=1)
    other = tmp_path / "images.json" / "9" / "images.json"
    other.parent.mkdir()
    other.write_text('["stranger"]')
    run("2", reuse=False, seed=2)
    assert "stranger" not in (tmp_path / "page.json" / "2" / "page.json").read_text()
    assert run("3", seed=1) == []


def test_a_damaged_output_is_made_again(run: Run, tmp_path: Path, caplog) -> None:
    run("1")
    (tmp_path / "images.json" / "1" / "images.json").write_text('["dr')
    assert run("2") == ["draw"]
    assert "draw: images is damaged: it is not what was saved" in caplog.text


def test_a_clock_that_jumps_back_misleads_nobody(run: Run, tmp_path: Path) -> None:
    run("2026-02-02T10.00.00.000Z", seed=1)
    assert run("2026-02-01T09.00.00.000Z", reuse=False, seed=2) == STEPS
    assert run("2026-02-01T09.00.01.000Z", seed=2) == []
    assert run("2026-02-01T09.00.02.000Z", seed=1) == []


def test_a_pruned_output_is_made_again_only_if_a_step_reads_it(tmp_path: Path) -> None:
    computed: list[str] = []

    def start(seed: int) -> Adapter:
        computed.append("start")
        return Adapter({"unet.a": torch.full((2,), float(seed))})

    def read(adapter: Adapter, steps: int) -> dict[str, float]:
        computed.append("read")
        return {"sum": float(adapter.weights["unet.a"].sum()) * steps}

    pipeline = Pipeline(
        [
            node(start, "params:seed", "adapter", name="start"),
            node(read, ["adapter", "params:steps"], "metrics", name="read"),
        ]
    )

    def run(run_id: str, steps: int) -> DataCatalog:
        catalog = DataCatalog({"params:seed": MemoryDataset(3), "params:steps": MemoryDataset(steps)})
        catalog["adapter"] = AdapterDataset(filepath=str(tmp_path / "adapter"), version=Version(None, run_id))
        catalog["metrics"] = JSONDataset(filepath=str(tmp_path / "metrics"), version=Version(None, run_id))
        run_with_lineage(pipeline, catalog, tmp_path, run_id)
        return catalog

    catalog = run("1", steps=1)
    catalog["adapter"].prune("1")
    computed.clear()
    run("2", steps=1)
    assert computed == []
    catalog = run("3", steps=2)
    assert computed == ["start", "read"]
    assert catalog.load("metrics") == {"sum": 12.0}


def test_what_a_step_made_of_a_tampered_input_is_not_taken_for_the_real_thing(run: Run, tmp_path: Path) -> None:
    run("1")
    (tmp_path / "images.json" / "1" / "images.json").write_text('["draw", "tampered"]')
    assert run("2", only=["score"], reuse=False) == ["score"]
    assert run("3") == ["draw"]
    page = max((tmp_path / "page.json").glob("*/page.json")).read_text()
    assert "tampered" not in page


def test_a_part_reads_what_its_parameters_make_and_not_the_newest(run: Run, tmp_path: Path, caplog) -> None:
    run("1", seed=1)
    run("2", seed=2)
    run("3", seed=1, only=["score"], steps=9)
    record = next(each for each in Records(tmp_path / "lineage").all() if each.version == "3")
    first = next(each for each in Records(tmp_path / "lineage").all() if "images" in each.outputs)
    assert (first.version, record.inputs["images"]) == ("1", first.key)
    assert "the newest version is read" not in caplog.text
    run("4", seed=7, only=["score"])
    assert "images: not there as these parameters make it; the newest version is read" in caplog.text


def test_the_reason_is_the_difference_to_what_is_most_alike(run: Run, caplog) -> None:
    run("1", seed=1)
    run("2", seed=2, steps=5)
    caplog.clear()
    run("3", seed=1, steps=4)
    assert "score: steps is 4, was 3" in caplog.text


def test_runs_with_the_same_parameters_keep_their_own_records(run: Run, tmp_path: Path) -> None:
    run("1", reuse=False)
    run("2", reuse=False)
    assert sorted({record.version for record in Records(tmp_path / "lineage").all()}) == ["1", "2"]
    for name in ("images", "scores", "page"):
        shutil.rmtree(tmp_path / f"{name}.json" / "2")
    assert run("3") == []


def test_what_changes_no_result_makes_nothing_again(run: Run) -> None:
    run("1", steps={"checkpoint_every": 25, "device": "auto", "steps": 3})
    assert run("2", steps={"checkpoint_every": 10, "device": "cpu", "steps": 3}) == []


def test_an_output_that_is_not_versioned_is_written_where_it_belongs(tmp_path: Path) -> None:
    pipeline = Pipeline([node(lambda seed: {"a": seed}, "params:seed", "page", name="page")])
    for run_id in ("1", "2"):
        catalog = DataCatalog(
            {"params:seed": MemoryDataset(3), "page": JSONDataset(filepath=str(tmp_path / "page.json"))}
        )
        run_with_lineage(pipeline, catalog, tmp_path, run_id)
    assert (tmp_path / "page.json").is_file()
