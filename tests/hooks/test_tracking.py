"""What a run records in MLflow: real Kedro runs in memory, a real sqlite store."""

import json
import logging
import math
import os
import shutil
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner
from kedro_process import KedroProcess
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import IMAGE_COLUMNS, ImageSet
from rsidiff_kedro.hooks.mlflow_runs import flattened, image_key, run_name
from rsidiff_kedro.hooks.mlflow_store import TrackingError, TrackingSettings
from rsidiff_kedro.hooks.tracking import TrackingHooks
from rsidiff_kedro.settings import CONFIG_LOADER_ARGS

SOURCE = Path(__file__).parents[2] / "src"
PARAMETERS = {"seed": 0, "sampler": {"guidance_scale": 3.0}, "rewards": ["proxy"], "floors": {}}
NAMES = ("rsi", "sft")


def metrics_of(number: int) -> Callable[[], dict[str, Any]]:
    return lambda: {"test/prompt_accuracy": 0.1 * number, "test/reward/proxy": 1.0, "gate/accepted": None}


def image_set() -> ImageSet:
    metadata = pd.DataFrame({name: ["x", "y"] for name in IMAGE_COLUMNS}).assign(sample_index=0, prompt_id=["a", "b"])
    return ImageSet(metadata, [Image.fromarray(np.zeros((4, 4, 3), np.uint8))] * 2)


def fail() -> None:
    raise RuntimeError("the loss is not a number")


def rounds(*extra: Any) -> Pipeline:
    nodes = [node(metrics_of(number), None, f"rsi.round_{number}.metrics") for number in range(3)]
    return Pipeline([*nodes, *extra])


def context_of(root: Path, text: str = "{experiment: rounds, artifact_location: artifacts}") -> SimpleNamespace:
    (root / "conf/base").mkdir(parents=True, exist_ok=True)
    (root / "conf/local").mkdir(exist_ok=True)
    (root / "conf/base/mlflow.yml").write_text(f"tracking: {text}\n")
    (root / "conf/base/globals.yml").write_text("data: data\n")
    loader = OmegaConfigLoader(str(root / "conf"), **CONFIG_LOADER_ARGS)
    return SimpleNamespace(config_loader=loader, project_path=root)


def run(hook: TrackingHooks, root: Path, pipeline: Pipeline, catalog: DataCatalog | None = None) -> None:
    """What KedroSession.run does with hooks."""
    catalog = catalog or DataCatalog()
    catalog["parameters"] = MemoryDataset(PARAMETERS)
    manager = _create_hook_manager()
    manager.register(hook)
    hook.after_context_created(context_of(root))
    shared: dict[str, Any] = {"pipeline": pipeline, "catalog": catalog}
    shared["run_params"] = {"run_id": "2030-01-01T00.00.00.000Z", "env": None, "pipeline_names": ["rsi"]}
    manager.hook.before_pipeline_run(**shared)
    try:
        result = SequentialRunner().run(pipeline, catalog, hook_manager=manager)
    except RuntimeError as error:
        manager.hook.on_pipeline_error(error=error, **shared)
        raise
    manager.hook.after_pipeline_run(run_result=result, **shared)


def runs_of(root: Path) -> tuple[MlflowClient, Run, dict[str, Run]]:
    """The newest parent, and its children by name."""
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("rounds")
    everything = client.search_runs([experiment.experiment_id])
    parent = next(each for each in everything if "mlflow.parentRunId" not in each.data.tags)
    children = [each for each in everything if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return client, parent, {each.info.run_name: each for each in children}


@pytest.fixture
def root(tmp_path: Path, empty_store: Path) -> Path:
    """A project's root with a store in it."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture(autouse=True)
def no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_each_round_is_a_child_with_the_same_metrics_and_the_parent_has_them_by_step(root: Path) -> None:
    run(TrackingHooks(), root, rounds())
    client, parent, children = runs_of(root)
    assert sorted(children) == ["round_0", "round_1", "round_2"]
    assert parent.data.tags["kedro.env"] == "local"  # the default
    assert len({frozenset(child.data.metrics) for child in children.values()}) == 1
    history = client.get_metric_history(parent.info.run_id, "test/prompt_accuracy")
    assert sorted((point.step, point.value) for point in history) == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert {each.info.status for each in [parent, *children.values()]} == {"FINISHED"}
    assert parent.data.params == {
        "seed": "0",
        "sampler.guidance_scale": "3.0",
        "rewards": '["proxy"]',
        "floors": "{}",
    }


def test_a_metric_that_was_not_measured_is_recorded_as_nan(root: Path) -> None:
    run(TrackingHooks(), root, rounds())
    client, _, children = runs_of(root)
    (point,) = client.get_metric_history(children["round_1"].info.run_id, "gate/accepted")
    assert math.isnan(point.value)


def test_collapse_is_monitored_on_the_parent_and_its_signs_are_a_tag_of_their_round(root: Path) -> None:
    def measured(rate: float) -> Callable[..., dict[str, float]]:
        key = "test/hallucination_rate"
        return lambda *before: {key: rate, f"{key}_low": rate - 0.05, f"{key}_high": rate + 0.05}

    rates = [0.2, 0.1, 0.4]
    names = [f"rsi.round_{number}.metrics" for number in range(3)]
    pipeline = Pipeline([node(measured(rates[each]), names[:each] or None, names[each]) for each in range(3)])
    run(TrackingHooks(), root, pipeline)
    client, parent, children = runs_of(root)
    history = client.get_metric_history(parent.info.run_id, "collapse/hallucination_rate")
    error = math.hypot(0.05, 0.05) / 1.96
    found = {point.step: point.value for point in history}
    assert found == {1: pytest.approx(-0.1 / error), 2: pytest.approx(0.3 / error)}
    signs = {name: child.data.tags.get("signs_of_collapse", "") for name, child in children.items()}
    assert [name for name, text in signs.items() if text] == ["round_2"]
    assert signs["round_2"].startswith("hallucination rate 0.400 after 0.100 in round 1")


@pytest.mark.parametrize(("reward", "logged"), [("clip", False), ("proxy", True)])
def test_the_reward_of_early_dropping_is_no_held_out_one_whose_fall_is_logged(
    root: Path, monkeypatch: pytest.MonkeyPatch, reward: str, logged: bool
) -> None:
    selection = {"enabled": False, "rewards": {"proxy": 1.0}, "floors": {}}
    tree = {"preference_selection": selection, "synthesis": {"early_dropping": {"after": 2, "reward": reward}}}
    monkeypatch.setitem(globals(), "PARAMETERS", tree)
    key = "test/reward/clip"
    falls = [{key: mean, f"{key}_low": mean - 0.1, f"{key}_high": mean + 0.1} for mean in (2.0, 1.0)]
    pipeline = [node(lambda _, fall=fall: fall, "parameters", f"rsi.round_{n}.metrics") for n, fall in enumerate(falls)]
    run(TrackingHooks(), root, Pipeline(pipeline))
    _, parent, children = runs_of(root)
    assert ("collapse/held-out_reward_clip" in parent.data.metrics) == logged
    assert children["round_1"].data.params["synthesis.early_dropping.reward"] == reward


def test_what_stands_apart_is_a_run_of_its_own_where_one_command_makes_both(root: Path) -> None:
    adapters = {
        name: Adapter({"unet.lora_A.weight": torch.full((2,), float(number))}, {}) for number, name in enumerate(NAMES)
    }
    nodes = []
    for number, (name, adapter) in enumerate(adapters.items()):
        log = pd.DataFrame({"step": [1], "loss": [float(number)]})
        nodes += [
            node(lambda each=adapter: each, None, f"{name}.round_1.adapter"),
            node(lambda each=log: each, None, f"{name}.round_1.training_log"),
            node(lambda each=number: {"test/reward/proxy": float(each)}, None, f"{name}.round_1.metrics"),
            node(image_set, None, f"{name}.round_1.test_images"),
        ]
    run(TrackingHooks(), root, Pipeline([*nodes, node(lambda: "better", None, "summary")]))
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    everything = client.search_runs([client.get_experiment_by_name("rounds").experiment_id])
    parents = {each.info.run_name: each for each in everything if "mlflow.parentRunId" not in each.data.tags}
    assert [*parents] == ["method · seed 0", "sft · seed 0"]  # what shows the newest shows the method
    for number, (name, parent) in enumerate(zip(NAMES, parents.values(), strict=True)):
        (child,) = (each for each in everything if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id)
        assert child.info.run_name == "round_1" and child.data.tags["adapter"] == adapters[name].digest
        for each in (parent, child):
            (point,) = client.get_metric_history(each.info.run_id, "test/reward/proxy")
            assert (point.step, point.value, each.info.status) == (1, float(number), "FINISHED")
        path = client.download_artifacts(child.info.run_id, "training_log.csv")
        assert pd.read_csv(path)["loss"].tolist() == [number]
    found = [[item.path for item in client.list_artifacts(each.info.run_id)] for each in parents.values()]
    assert found == [["images", "summary.txt"], ["images"]]


def test_a_failed_run_and_its_open_round_are_marked_as_failed(root: Path) -> None:
    failing = [
        node(lambda _: pd.DataFrame(), "rsi.round_2.metrics", "rsi.round_3.prompts"),
        node(lambda _: fail(), "rsi.round_3.prompts", "rsi.round_3.metrics"),
    ]
    with pytest.raises(RuntimeError):
        run(TrackingHooks(), root, rounds(*failing))
    _, parent, children = runs_of(root)
    assert parent.info.status == "FAILED"
    assert parent.data.tags["error"] == "RuntimeError: the loss is not a number"
    assert children["round_3"].info.status == "FAILED"
    assert {children[f"round_{number}"].info.status for number in range(3)} == {"FINISHED"}


def test_images_training_log_adapter_and_report_are_artifacts(root: Path) -> None:
    adapter = Adapter({"unet.lora_A.weight": torch.ones(2)}, {"round": 1})
    log = pd.DataFrame({"step": [1, 2], "loss": [0.5, 0.4]})
    extra = [
        node(image_set, None, "rsi.round_1.test_images"),
        node(lambda: log, None, "rsi.round_1.training_log"),
        node(lambda: adapter, None, "rsi.round_1.adapter"),
        node(lambda: "<html>", None, "report"),
        node(lambda: "better", None, "summary"),
    ]
    run(TrackingHooks(), root, rounds(*extra))
    client, parent, children = runs_of(root)
    child = children["round_1"]
    grid = client.list_artifacts(parent.info.run_id, "images")
    assert {item.path.partition("+timestamp")[0] for item in grid} == {"images/01 x+step+1", "images/02 y+step+1"}
    assert child.data.tags["adapter"] == adapter.digest
    assert {item.path for item in client.list_artifacts(child.info.run_id)} == {
        "adapter.json",
        "test_images.png",
        "training_log.csv",
        "training_log.html",
    }
    assert {item.path for item in client.list_artifacts(parent.info.run_id)} == {"images", "report.html", "summary.txt"}
    (path,) = (root / "artifacts").rglob("adapter.json")
    assert json.loads(path.read_text())["digest"] == adapter.digest


def test_rounds_that_a_resumed_run_reuses_are_recorded_too(root: Path) -> None:
    catalog = DataCatalog({"rsi.round_0.metrics": MemoryDataset(metrics_of(0)())})
    hook, resumed = TrackingHooks(), Pipeline(rounds().nodes)
    hook.after_context_created(context_of(root))
    shared: dict[str, Any] = {"pipeline": resumed, "catalog": catalog, "run_params": {"run_id": "now"}}
    hook.before_pipeline_run(**shared)
    for number in (1, 2):
        hook.after_dataset_saved(f"rsi.round_{number}.metrics", metrics_of(number)())
    hook.after_pipeline_run(catalog)
    client, parent, children = runs_of(root)
    assert sorted(children) == ["round_0", "round_1", "round_2"]
    steps = [point.step for point in client.get_metric_history(parent.info.run_id, "test/reward/proxy")]
    assert sorted(steps) == [0, 1, 2]


def test_a_round_is_open_while_its_nodes_run_and_no_other(root: Path) -> None:
    seen: list[dict[str, str]] = []

    def look(_: Any) -> dict[str, Any]:
        *_, children = runs_of(root)
        seen.append({run.info.run_name: run.info.status for run in children.values()})
        return metrics_of(0)()

    chain = [f"rsi.round_{number}.metrics" for number in range(3)]
    nodes = [node(look, before, after, name=after) for before, after in zip(["parameters", *chain], chain)]
    run(TrackingHooks(), root, Pipeline([*nodes, node(lambda _: "better", chain[-1], "summary")]))
    ended = {f"round_{number}": "FINISHED" for number in range(3)}
    expected = [dict(list(ended.items())[:number]) | {f"round_{number}": "RUNNING"} for number in range(3)]
    assert seen == expected
    _, parent, children = runs_of(root)
    times = [(each.info.start_time, each.info.end_time) for each in children.values()]
    flat = [moment for pair in sorted(times) for moment in pair]
    assert [parent.info.start_time, *flat, parent.info.end_time] == sorted(
        [parent.info.start_time, *flat, parent.info.end_time]
    )


def test_a_round_repeats_the_main_parameters(root: Path) -> None:
    run(TrackingHooks(), root, rounds())
    _, parent, children = runs_of(root)
    assert children["round_1"].data.params == {"seed": "0", "round": "1"}
    assert children["round_1"].data.tags["mlflow.note.content"] == "Round 1 of: method · seed 0"
    assert parent.info.run_name == "method · seed 0"


@pytest.mark.parametrize(
    ("off", "method", "name"),
    [
        ([], "rsi", "method · seed 1 · stable_diffusion_3"),
        (["weighting", "gate"], "rsi", "no weighting, no gate · seed 1 · stable_diffusion_3"),
        (["prompt_curation", "weighting"], "rsi", "no curation, no weighting · seed 1 · stable_diffusion_3"),
        (["prompt_curation", "preference_selection", "weighting"], "rsi", "naive · seed 1 · stable_diffusion_3"),
        (["weighting"], "sft", "sft · seed 1 · stable_diffusion_3"),
    ],
)
def test_a_parent_is_named_by_arm_seed_and_family(off: list[str], method: str, name: str) -> None:
    switched = {each: {"enabled": False} for each in off}
    parameters = {"seed": 1, "model": {"family": "stable_diffusion_3"}, **switched}
    assert run_name(dict(flattened(parameters)), method) == name


@pytest.mark.parametrize(
    ("prompt", "key"),
    [
        ("a red circle, left of a 'cube'", "01 a red circle left of a cube"),
        ("../../etc/passwd\n", "01 etc passwd"),
        ("日本の城", "01"),
        ("word " * 100, "01 " + "word " * 11 + "wo"),
    ],
)
def test_the_key_of_an_image_holds_only_what_mlflow_takes(prompt: str, key: str) -> None:
    assert image_key(0, prompt) == key


def test_a_pipeline_without_rounds_is_not_tracked(tmp_path: Path) -> None:
    run(TrackingHooks(), tmp_path, Pipeline([node(lambda: "text", None, "summary")]))
    assert not (tmp_path / "mlflow.db").exists()


def test_two_sessions_of_one_process_keep_apart(root: Path) -> None:
    hook = TrackingHooks()
    run(hook, root, rounds())
    run(hook, root, rounds())
    client, _, _ = runs_of(root)
    assert len(client.search_runs([client.get_experiment_by_name("rounds").experiment_id])) == 8


@pytest.mark.parametrize(
    "end",
    ["raise KeyboardInterrupt", "os.kill(os.getpid(), signal.SIGTERM)", "os.kill(os.getpid(), signal.SIGHUP)"],
)
def test_a_run_that_is_ended_from_outside_is_marked_as_killed(root: Path, end: str) -> None:
    script = textwrap.dedent(f"""
        import os, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent), str(SOURCE)]!r}
        from pathlib import Path
        from test_tracking import *
        from rsidiff_kedro.hooks.failures import exit_on_termination
        exit_on_termination()  # as the session does
        def interrupt(_):
            {end}
        interrupted = node(interrupt, "rsi.round_2.metrics", "rsi.round_3.metrics")
        prompts = node(lambda: 1, None, "rsi.round_3.prompts")
        run(TrackingHooks(), Path({str(root)!r}), rounds(interrupted, prompts))
    """)
    with KedroProcess(root, [], os.environ, prelude=script) as process:  # it ends before a command of kedro begins
        process.communicate()
    assert process.returncode in (1, 128 + signal.SIGTERM, 128 + signal.SIGHUP)
    _, parent, children = runs_of(root)
    assert parent.info.status == "KILLED"
    assert children["round_0"].info.status == "FINISHED"


def test_what_a_round_trained_on_stands_on_the_parent_alone(root: Path) -> None:
    training = node(lambda: {"training/images": 100.0}, None, "rsi.round_1.training_metrics")
    run(TrackingHooks(), root, rounds(training))
    client, parent, children = runs_of(root)
    assert [point.step for point in client.get_metric_history(parent.info.run_id, "training/images")] == [1]
    assert len({frozenset(child.data.metrics) for child in children.values()}) == 1


def test_a_new_store_is_made_without_noise(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    with caplog.at_level(logging.INFO):
        run(TrackingHooks(), tmp_path, Pipeline([node(metrics_of(0), None, "rsi.round_0.metrics")]))
    assert [record.name for record in caplog.records if record.name.startswith(("alembic", "mlflow"))] == []
    assert "alembic" not in "".join(capfd.readouterr())


def test_a_store_that_fails_in_the_middle_does_not_stop_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("no answer")

    monkeypatch.setattr(MlflowClient, "log_text", unreachable)
    run(TrackingHooks(), root, rounds(node(lambda: "better", None, "summary")))
    assert "could not record summary: no answer" in caplog.text
    assert runs_of(root)[1].info.status == "FINISHED"


def test_tracking_can_be_switched_off(tmp_path: Path) -> None:
    hook = TrackingHooks()
    hook.after_context_created(context_of(tmp_path, "{enabled: false}"))
    hook.before_pipeline_run(run_params={"run_id": "now"}, pipeline=rounds(), catalog=DataCatalog())
    assert not (tmp_path / "mlflow.db").exists()


def test_a_relative_store_lies_in_the_project_and_an_absolute_one_where_it_says(tmp_path: Path) -> None:
    assert TrackingSettings().absolute_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    assert TrackingSettings(tracking_uri="sqlite:////a/b.db").absolute_uri(tmp_path) == "sqlite:////a/b.db"
    server = TrackingSettings(tracking_uri="http://localhost:5000", artifact_location="artifacts")
    assert server.absolute_uri(tmp_path) == "http://localhost:5000"
    assert server.absolute_artifacts(tmp_path) is None


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_tilde_in_mlflows_places_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for written, meant in {"sqlite:///~/a.db": "sqlite:////home/me/a.db", "~/mlruns": "/home/me/mlruns"}.items():
        monkeypatch.setenv("MLFLOW_TRACKING_URI", written if by_variable else "")
        settings = TrackingSettings() if by_variable else TrackingSettings(tracking_uri=written)
        assert settings.absolute_uri(tmp_path) == meant
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for written, meant in {"~/x": "file:///home/me/x", "x": f"file://{tmp_path}/x", "s3://b/~": "s3://b/~"}.items():
        assert TrackingSettings(artifact_location=written).absolute_artifacts(tmp_path) == meant
    monkeypatch.setenv("HOME", "/home/a#b")
    with pytest.raises(TrackingError, match="/home/a#b: SQLite's address cannot hold"):
        TrackingSettings(tracking_uri="sqlite:///~/a.db").absolute_uri(tmp_path)


def test_the_environment_variable_of_mlflow_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert TrackingSettings().absolute_uri(tmp_path) == "http://localhost:5000"


def test_parameters_are_flattened_by_their_path() -> None:
    assert dict(flattened({"a": {"b": {"c": 1}}, "d": [1, None], "e": None})) == {
        "a.b.c": "1",
        "d": "[1, null]",
        "e": "None",
    }
