"""conf/scenes_sd3: its base is trained, and a round of the method runs with it, on the parameters of conf/test."""

from pathlib import Path

import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog

from rsidiff_kedro.hooks.runner import RsiRunner

ROOT = Path(__file__).parents[2]
TINY = {"layers": 2, "heads": 2, "head_width": 8, "text_width": 16, "text_layers": 2}


def shrunken(**changed: object) -> dict[str, object]:
    """Return the parameters of conf/test, with others on top."""
    return yaml.safe_load((ROOT / "conf/test/parameters.yml").read_text()) | changed


@pytest.fixture(scope="module")
def trained(own_project: Path) -> DataCatalog:
    """Train the base up to its measurement."""
    tests = shrunken()["base_model"]
    assert isinstance(tests, dict)
    base_model = tests | {"denoiser": TINY | {"phases": tests["denoiser"]["phases"]}, "autoencoder": {}}
    parameters = shrunken(base_model=base_model)
    with KedroSession.create(own_project, env="scenes_sd3", runtime_params=parameters) as session:
        session.run(pipeline_names=["base_model"], to_nodes=["base_model.measure"], runner=RsiRunner())
    with KedroSession.create(own_project, env="scenes_sd3", runtime_params=parameters) as session:
        return session.load_context().catalog


def test_the_base_is_a_pipeline_of_stable_diffusion_3(trained: DataCatalog) -> None:
    base = trained.load("base_model.base")
    assert type(base).__name__ == "StableDiffusion3Pipeline" and base.text_encoder_3 is None
    assert "`StableDiffusion3Pipeline` (transformer of" in trained.load("base_model.base_card")


def test_a_round_runs_with_it(own_project: Path, trained: DataCatalog) -> None:
    base = Path(str(trained.get("base_model.base")._get_load_path()))
    parameters = shrunken(rounds=1, model={"base": str(base)})
    del parameters["base_model"]
    with KedroSession.create(own_project, env="scenes_sd3", runtime_params=parameters) as session:
        session.run(pipeline_names=["rsi"], runner=RsiRunner())
    with KedroSession.create(own_project, env="scenes_sd3", runtime_params=parameters) as session:
        metrics = session.load_context().catalog.load("rsi.round_1.metrics")
    assert 0 <= metrics["test/prompt_accuracy"] <= 1
