"""The embedded model's training, on the shrunken parameters of conf/test, through Kedro."""

from pathlib import Path

import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel


@pytest.fixture(scope="module")
def catalog(own_project: Path) -> DataCatalog:
    """Return the catalog after a whole run in a folder of its own."""
    with KedroSession.create(own_project, env="test") as session:
        session.run(pipeline_names=["base_model"], runner=RsiRunner())
    with KedroSession.create(own_project, env="test") as session:
        return session.load_context().catalog


def test_the_base_is_saved_as_float16_safetensors(catalog: DataCatalog) -> None:
    base = catalog.load("base_model.base")
    assert base.unet.config.in_channels == base.vae.config.latent_channels == 4
    files = list(Path(str(catalog.get("base_model.base")._get_load_path())).rglob("*.safetensors"))
    assert {path.parent.name for path in files} == {"unet", "vae", "text_encoder"}


def test_no_path_of_the_machine_is_saved_with_the_base(catalog: DataCatalog) -> None:
    folder = Path(str(catalog.get("base_model.base")._get_load_path()))
    assert not [path for path in folder.rglob("*.json") if "_name_or_path" in path.read_text()]


def test_annotators_answer_about_the_bases_own_images(catalog: DataCatalog) -> None:
    images: ImageSet = catalog.load("base_model.annotated_images")
    answers: pd.DataFrame = catalog.load("base_model.answers")
    assert set(answers["better"]) | set(answers["worse"]) <= set(images.metadata["image_id"])


def test_the_preference_model_is_saved(catalog: DataCatalog) -> None:
    assert isinstance(catalog.load("base_model.proxy"), ProxyModel)


def test_both_cards_give_the_figures_that_were_measured(catalog: DataCatalog) -> None:
    for name in ("base", "proxy"):
        card, figures = catalog.load(f"base_model.{name}_card"), catalog.load(f"base_model.{name}_metrics")
        assert all(f"| {key} | {value:.3f} |" in card for key, value in figures.items() if key != "images")


def test_after_a_single_phase_its_figures_are_the_bases(catalog: DataCatalog) -> None:
    figures = catalog.load("base_model.base_metrics")
    assert figures["first_phase/accuracy"] == figures["accuracy"]
    assert (
        catalog.load("base_model.first_phase_images").images[0] == catalog.load("base_model.held_out_images").images[0]
    )
