"""What is shipped: plain formats, small, and it generates images."""

from pathlib import Path

import pytest
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

from rsidiff_kedro.scenes import BASE_FOLDER as BASE
from rsidiff_kedro.scenes import PROXY_FOLDER as PROXY
from rsidiff_kedro.scenes import SD3_BASE_FOLDER as SD3_BASE
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel


def size(folder: Path) -> float:
    """Return the megabytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.mark.parametrize("base", [BASE, SD3_BASE])
def test_a_base_has_at_most_20_megabytes_and_a_card(base):
    assert size(base) <= 20
    assert "accuracy" in (base / "README.md").read_text()


def test_the_preference_model_has_at_most_5_megabytes_and_a_card():
    assert size(PROXY) <= 5
    assert "within_prompt_correlation" in (PROXY / "README.md").read_text()


def test_there_is_no_pickle_among_them():
    suffixes = {path.suffix for folder in (BASE, SD3_BASE, PROXY) for path in folder.rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".md"}


def test_no_path_of_a_machine_is_among_them():
    texts = [path.read_text() for folder in (BASE, SD3_BASE, PROXY) for path in folder.rglob("*.json")]
    assert not [text for text in texts if "_name_or_path" in text]


def test_an_unmodified_pipeline_loads_the_base_and_generates():
    pipeline = StableDiffusionPipeline.from_pretrained(BASE)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a small red circle", num_inference_steps=4, guidance_scale=3, height=32, width=32).images[0]
    assert image.size == (32, 32)


def test_an_unmodified_pipeline_loads_the_second_base_and_generates():
    absent = dict.fromkeys(("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor"))
    pipeline = StableDiffusion3Pipeline.from_pretrained(SD3_BASE, **absent)
    pipeline.set_progress_bar_config(disable=True)
    options = {"height": 32, "width": 32, "max_sequence_length": 0}
    image = pipeline("a small red circle", num_inference_steps=4, guidance_scale=2, **options).images[0]
    assert image.size == (32, 32)


def test_the_preference_model_loads():
    words = ProxyModel.from_pretrained(PROXY).config.vocabulary
    assert {"red", "circle", "background"} <= set(words)
