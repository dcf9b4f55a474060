"""The whole method, once, on the shrunken parameters of conf/test, and what it left on disk."""

import json
import logging
import platform
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from mlflow import MlflowClient
from nbclient import NotebookClient
from PIL import Image

from rsidiff_kedro.hooks.ending import EndingHooks
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.scenes.world.grammar import sample_scene
from rsidiff_kedro.scenes.world.renderer import compose, render

ROOT = Path(__file__).parents[2]
ROUNDS = (0, 1, 2)
PLOT = "application/vnd.plotly.v1+json"


def run(project: Path, pipeline: str, **options) -> None:
    bootstrap_project(project)
    with KedroSession.create(project, env="test") as session:
        session.run(pipeline_names=[pipeline], runner=RsiRunner(), **options)


@pytest.fixture
def project(finished_project: Path) -> Path:
    return finished_project


@pytest.fixture
def catalog(project: Path) -> DataCatalog:
    """Return a catalog of the newest versions; making one takes as long as several tests."""
    bootstrap_project(project)
    with KedroSession.create(project, env="test") as session:
        return session.load_context().catalog


def test_a_run_ends_by_saying_where_to_look(
    project: Path,
    catalog: DataCatalog,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from kedro.framework.project import pipelines

    def context_of(conf: str) -> Any:
        return SimpleNamespace(project_path=project, config_loader=SimpleNamespace(conf_source=str(project / conf)))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    kedro = Path(sys.executable).with_name("kedro")
    with caplog.at_level(logging.INFO, "rsidiff_kedro"):
        for env, params, path, conf in (
            ("test", {}, kedro.parent, "conf"),
            (None, None, "", "conf"),  # as where no virtual environment is active
            ("my own", {"rounds": 3, "seed": 1}, kedro.parent, "../my conf"),
        ):
            monkeypatch.setenv("PATH", str(path))
            hooks = EndingHooks()
            hooks.after_context_created(context_of(conf))
            hooks.after_pipeline_run({"env": env, "runtime_params": params}, pipelines["report"], catalog)
    path = re.search(r"Report with its gallery: (.*)\n", caplog.text)
    assert path is not None and Path(path[1]).is_file()
    assert list(dict.fromkeys(re.findall("MLflow and Kedro-Viz: (.*)", caplog.text))) == [
        "kedro rsi ui --env=test",
        f"{kedro} rsi ui",
        f"kedro rsi ui '--env=my own' --params=rounds=3 '--conf-source={project.resolve().parent / 'my conf'}'",
    ]


def test_every_dataset_of_the_pipeline_lies_on_disk(catalog: DataCatalog) -> None:
    from kedro.framework.project import pipelines

    outputs = pipelines["rsi"].all_outputs()
    assert {name for name in outputs if not catalog.exists(name)} == set()


def test_every_round_reports_the_same_metrics(catalog: DataCatalog) -> None:
    keys = {frozenset(catalog.load(f"rsi.round_{number}.metrics")) for number in ROUNDS}
    assert len(keys) == 1


def test_training_validation_and_test_prompts_are_disjoint(catalog: DataCatalog) -> None:
    sets = [set(catalog.load(name)["prompt_id"]) for name in ("prompt_pool", "validation_prompts", "test_prompts")]
    assert len(set().union(*sets)) == sum(map(len, sets))


def test_round_1_generates_as_the_base_does(catalog: DataCatalog) -> None:
    adapter = catalog.load("rsi.round_0.adapter")
    assert not any(tensor.any() for name, tensor in adapter.weights.items() if "lora_B" in name)
    assert set(catalog.load("rsi.round_1.images").metadata["checkpoint"]) == {adapter.digest}


def test_a_round_goes_on_with_its_candidate_only_if_the_gate_accepted_it(catalog: DataCatalog) -> None:
    for number in (1, 2):
        accepted = catalog.load(f"rsi.round_{number}.gate")["accepted"]
        origin = f"rsi.round_{number}.candidate" if accepted else f"rsi.round_{number - 1}.adapter"
        adapter = catalog.load(f"rsi.round_{number}.adapter")
        assert adapter.digest == catalog.load(origin).digest


def test_evaluation_images_are_paired_between_rounds(catalog: DataCatalog) -> None:
    seeds = [catalog.load(f"rsi.round_{number}.test_images").metadata["seed"].tolist() for number in ROUNDS]
    assert seeds[0] == seeds[1] == seeds[2]


def test_training_images_are_generated_from_new_seeds_in_each_round(catalog: DataCatalog) -> None:
    first, second = (set(catalog.load(f"rsi.round_{n}.images").metadata["seed"]) for n in (1, 2))
    assert not first & second


def test_weights_have_a_mean_of_one(catalog: DataCatalog) -> None:
    for number in (1, 2):
        assert catalog.load(f"rsi.round_{number}.weights")["weight"].mean() == pytest.approx(1.0)


def test_a_stage_runs_again_alone_and_gives_the_same(project: Path, catalog: DataCatalog) -> None:
    before = catalog.load("rsi.round_2.selection")
    run(project, "preference_selection")
    versions = sorted(project.glob("data/test/04_feature/rsi/round_2/selection.parquet/*"))
    assert len(versions) == 2
    pd.testing.assert_frame_equal(before, pd.read_parquet(versions[-1]))


def test_fine_tuning_on_real_pairs_is_measured_as_a_round_is(project: Path, catalog: DataCatalog) -> None:
    folder = project / "data" / "01_raw" / "real_images"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    scenes = [sample_scene(rng, 1) for _ in range(6)]
    for number, scene in enumerate(scenes):
        Image.fromarray(render(compose(scene, rng))).save(folder / f"{number}.png")
    table = pd.DataFrame({"file_name": [f"{number}.png" for number in range(6)], "text": [s.caption for s in scenes]})
    table.to_csv(folder / "metadata.csv", index=False)
    run(project, "sft")
    measured, base = (catalog.load(f"{name}.metrics") for name in ("sft.round_1", "rsi.round_0"))
    assert set(measured) == set(base)
    seeds = [catalog.load(f"{name}.test_images").metadata["seed"] for name in ("sft.round_1", "rsi.round_0")]
    assert seeds[0].tolist() == seeds[1].tolist()


def test_metrics_are_plain_json(project: Path) -> None:
    paths = list(project.glob("data/test/08_reporting/rsi/round_*/metrics.json/*/metrics.json"))
    assert len(paths) == len(ROUNDS)
    assert all(isinstance(value, float) for path in paths for value in json.loads(path.read_text()).values())


def test_mlflow_has_a_child_run_per_round_with_equal_metric_keys(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = [run for run in client.search_runs(experiments) if "mlflow.parentRunId" in run.data.tags]
    first = {run.data.tags["mlflow.parentRunId"] for run in runs if run.info.run_name == "round_0"}.pop()
    children = [run for run in runs if run.data.tags["mlflow.parentRunId"] == first]
    assert sorted(run.info.run_name for run in children) == ["round_0", "round_1", "round_2"]
    assert len({frozenset(run.data.metrics) for run in children}) == 1
    assert {run.info.status for run in children} == {"FINISHED"}


def test_the_times_of_rounds_and_stages_in_mlflow_add_up(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    parent = next(run for run in reversed(runs) if "mlflow.parentRunId" not in run.data.tags)
    mine = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    children = sorted(mine, key=lambda run: int(run.data.tags["round"]))
    ends = [parent.info.start_time, *(run.info.end_time for run in children)]
    starts = [*(run.info.start_time for run in children), parent.info.end_time]
    assert all(before <= after for before, after in zip(ends, starts))
    outside, inside = 0.0, [0.0] * len(children)
    for key, last in parent.data.metrics.items():
        if key.startswith("time/") and key in children[0].data.metrics:
            for number, child in enumerate(children):
                inside[number] += child.data.metrics[key]
        elif key.startswith("time/"):
            outside += last
    took = [(run.info.end_time - run.info.start_time) / 1000 for run in children]
    assert all(0 < steps <= whole + 0.1 for steps, whole in zip(inside, took))
    assert 0 < outside <= (parent.info.end_time - parent.info.start_time) / 1000 - sum(took) + 0.1
    assert {
        "time/prompt_curation_seconds",
        "time/finetune_seconds",
        "time/report_seconds",
    } <= parent.data.metrics.keys()


def test_one_round_and_then_one_more_give_what_two_rounds_give(
    project: Path, empty_store: Path, tmp_path: Path
) -> None:
    """Check also that the second run makes nothing of the first again."""
    folder = tmp_path / "resumed"
    (folder / "src").mkdir(parents=True)
    for name in ("conf", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(empty_store, folder)
    bootstrap_project(folder)
    for rounds in (1, 2):
        with KedroSession.create(folder, env="test", runtime_params={"rounds": rounds}) as session:
            end = f"rsi.round_{rounds}.candidate"
            session.run(pipeline_names=["rsi"], runner=RsiRunner(), to_outputs=[end], only_missing_outputs=True)
    candidates = [
        next(place.glob("data/test/06_models/rsi/round_2/candidate/*/candidate/*.safetensors")).read_bytes()
        for place in (project, folder)
    ]
    assert candidates[0] == candidates[1]
    assert len(list(folder.glob("data/test/03_primary/rsi/round_1/images/*"))) == 1


def test_the_report_is_one_file_that_needs_no_network(catalog: DataCatalog) -> None:
    report = catalog.load("report")
    assert report.count("data:image/webp;base64,") >= len(ROUNDS)
    assert not re.search(r'<(script|link|img|iframe)\b[^>]*\b(src|href)="?http', report)


def test_the_report_says_which_run_it_belongs_to_and_what_each_stage_took(project: Path, catalog: DataCatalog) -> None:
    report, path = catalog.load("report"), Path(catalog["report"]._get_load_path())
    footer = report[report.index("<footer>") :]
    assert f"<dt>Run</dt><dd>{path.parent.name}</dd>" in footer
    assert "<dt>Environment</dt><dd>test</dd>" in footer and "no parameter" in footer
    assert f"python {platform.python_version()}" in footer
    stages = re.findall(r"<li>([a-z ]+) <b>[\d.]+ s</b>", report)
    assert stages == [
        "prompt curation",
        "synthesis",
        "preference selection",
        "weighting",
        "finetune",
        "gate",
        "evaluation",
        "report",
    ]
    used = re.search(r"<code>(data/test/06_models/[^<]*)</code>", footer)
    assert used is not None and (project / used[1] / "adapter.json").is_file()


def test_the_summary_names_the_adapter_in_use(project: Path, catalog: DataCatalog) -> None:
    used = re.search(r"The adapter in use is .*: (.*)", catalog.load("summary"))
    assert used is not None and list((project / used[1]).glob("*/adapter/adapter.json"))


def execute(notebook: str, folder: Path) -> list[dict[str, Any]]:
    """Run a notebook in a folder; give what its outputs show, which are neither texts of streams nor logs."""
    opened = nbformat.read(ROOT / "notebooks" / notebook, as_version=4)
    NotebookClient(opened, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in opened.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "stream"] == []
    shown = [output.data for output in outputs]
    # rich, which Kedro logs with by default, shows its lines as texts.
    assert all(output.output_type == "execute_result" or PLOT in output.data for output in outputs)
    return shown


def test_the_notebook_of_rounds_shows_the_newest_run_quietly_and_in_one_theme(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEDRO_ENV", "test")
    (project / "notebooks").mkdir(exist_ok=True)
    shown = execute("compare_rounds.ipynb", project / "notebooks")
    plots = [data[PLOT]["layout"] for data in shown if PLOT in data]
    assert len(plots) == 6
    assert len({json.dumps(layout["template"], sort_keys=True) for layout in plots}) == 1
    assert any("Training loss" in layout["title"]["text"] for layout in plots)
    (compared,) = (data["text/markdown"] for data in shown if "text/markdown" in data)
    assert "round 1 of 2" in compared and "prompt accuracy" in compared


def test_the_notebook_of_collapse_shows_curves_images_and_shares() -> None:
    shown = execute("collapse.ipynb", ROOT / "notebooks")
    assert sum(PLOT in data for data in shown) == 2 and sum("image/png" in data for data in shown) == 4
    table = shown[-1]["text/plain"]
    first = next(line for line in table.splitlines() if line.startswith("1 "))
    everything, selected, weighted = map(float, re.findall(r"(\d\.\d+) \[", first))
    assert everything < selected < weighted
