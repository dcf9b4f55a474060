"""A round that is selected by HPSv2.1 and ImageReward, on small random models in their official formats."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from mlflow import MlflowClient
from parity import samples

from rsidiff_kedro.hooks.runner import RsiRunner

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    samples.save_models(folder, "small")
    return folder


@pytest.fixture(scope="module")
def parameters(models: Path) -> dict[str, Any]:
    return {
        "rounds": 1,
        "preference_selection": {
            "rewards": {"proxy": 0, "hpsv2_1": 1.0, "image_reward": 0.5},
            "combine": "rank",
            "keep_per_prompt": 1,
            "floors": {"image_reward": -100.0},
        },
        "weighting": {"features": "hpsv2_1"},
        "evaluation": {"features": "hpsv2_1", "rewards": ["proxy"]},
        "rewards": {
            "device": "cpu",
            "hpsv2": {"checkpoint": "weights/hpsv2_1", "tokenizer": "weights/clip_tokenizer", "antialias": True},
            "image_reward": {"checkpoint": "weights/image_reward", "tokenizer": "weights/bert_tokenizer"},
        },
    }


@pytest.fixture(scope="module")
def project(
    tmp_path_factory: pytest.TempPathFactory, models: Path, parameters: dict[str, Any], empty_store: Path
) -> Path:
    folder = tmp_path_factory.mktemp("real") / "project"
    (folder / "src").mkdir(parents=True)
    for name in ("conf", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "weights").symlink_to(models)
    shutil.copy(empty_store, folder)
    bootstrap_project(folder)
    with KedroSession.create(folder, env="test", runtime_params=parameters) as session:
        session.run(pipeline_names=["rsi"], runner=RsiRunner())
    return folder


@pytest.fixture
def catalog(project: Path, parameters: dict[str, Any]):
    bootstrap_project(project)
    with KedroSession.create(project, env="test", runtime_params=parameters) as session:
        return session.load_context().catalog


def test_images_are_selected_by_both_rewards(catalog) -> None:
    selection = catalog.load("rsi.round_1.selection")
    assert selection[["hpsv2_1", "image_reward"]].std().gt(0).all()
    assert selection["score"].between(0, 1).all()
    assert selection.groupby("prompt_id")["kept"].sum().max() == 1


def test_what_the_scores_were_made_with_lies_beside_them(catalog, project: Path) -> None:
    for name in ("rsi.round_1.scores", "rsi.round_1.validation_scores", "rsi.round_0.test_scores"):
        record = catalog.load(name).attrs["rewards"]["hpsv2_1"]
        assert record["checkpoint"] == str(project / "weights" / "hpsv2_1")
        assert len(record["sha256"]) == 64
        assert record["antialias"] is True
        assert record["dtype"] == "float32"


def test_both_rewards_are_reported_for_every_round(catalog) -> None:
    for number in (0, 1):
        metrics = catalog.load(f"rsi.round_{number}.metrics")
        assert {"test/reward/hpsv2_1", "test/reward/image_reward", "test/reward/proxy"} <= metrics.keys()


def test_mlflow_has_the_options_of_the_rewards(project: Path) -> None:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("rsidiff_kedro_test")
    parents = [
        run for run in client.search_runs([experiment.experiment_id]) if "mlflow.parentRunId" not in run.data.tags
    ]
    assert parents[0].data.params["rewards.hpsv2.antialias"] == "True"
    assert parents[0].data.params["preference_selection.rewards.hpsv2_1"] == "1.0"
