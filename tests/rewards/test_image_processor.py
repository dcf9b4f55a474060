"""Images are normalized as a CLIP checkpoint's own image processor says; published models keep their numbers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from parity import samples
from transformers import CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.rewards.registry import check_reward, load_features, load_reward
from rsidiff_kedro.rewards.sources import CheckpointError

HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5, 0.25, 0.5]}
IMAGES = samples.images()[:5]
PROMPTS = ["a red dog"] * 5


@pytest.fixture
def clip(folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder of a small CLIP model, which names no image processor."""
    return Path(shutil.copytree(folder / "clip", tmp_path / "clip"))


def write(folder: Path, **changes: Any) -> dict[str, Any]:
    """Write an image processor as transformers does, and return it."""
    side = json.loads((folder / "config.json").read_text())["vision_config"]["image_size"]
    sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    content = json.loads(CLIPImageProcessorPil(**sizes | HALVES).to_json_string()) | changes
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return content


def embedded_by_transformers(folder: Path, **processor: Any) -> np.ndarray:
    network = CLIPModel.from_pretrained(folder).eval()
    side = network.config.vision_config.image_size
    processor |= {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    pixels = CLIPImageProcessorPil(**processor)(IMAGES, return_tensors="pt").pixel_values
    with torch.no_grad():
        found = network.visual_projection(network.vision_model(pixel_values=pixels).pooler_output)
    return torch.nn.functional.normalize(found, dim=-1).numpy()


def options_of(clip: Path, options: dict[str, dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return options["clip_score"] | {"checkpoint": str(clip)} | changes


def test_images_are_normalized_as_the_checkpoint_says(clip: Path, options: dict[str, dict[str, Any]]) -> None:
    write(clip)
    check_reward("clip_score", **options_of(clip, options))
    features = load_features("clip_score", **options_of(clip, options))
    assert features.embed(IMAGES, PROMPTS) == pytest.approx(embedded_by_transformers(clip, **HALVES), abs=1e-5)
    assert features.record["normalization"] == {"mean": [0.5, 0.5, 0.5], "deviation": [0.5, 0.25, 0.5]}
    aesthetic = options["aesthetic"] | {"clip": str(clip)}
    before = load_reward("aesthetic", **options["aesthetic"]).score(IMAGES, PROMPTS)
    assert np.abs(load_reward("aesthetic", **aesthetic).score(IMAGES, PROMPTS) - before).max() > 1e-3


def test_a_processor_that_newer_versions_of_transformers_write_is_read_too(
    clip: Path, options: dict[str, dict[str, Any]]
) -> None:
    content = write(clip)
    (clip / "preprocessor_config.json").unlink()
    (clip / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    features = load_features("clip_score", **options_of(clip, options))
    assert features.embed(IMAGES, PROMPTS) == pytest.approx(embedded_by_transformers(clip, **HALVES), abs=1e-5)


def test_the_processor_of_a_file_is_the_one_beside_it(clip: Path, options: dict[str, dict[str, Any]]) -> None:
    write(clip)
    of_file = load_features("clip_score", **options_of(clip / "model.safetensors", options))
    assert of_file.normalization.mean == (0.5, 0.5, 0.5)


def test_a_checkpoint_without_a_processor_has_openais_numbers(clip: Path, options: dict[str, dict[str, Any]]) -> None:
    features = load_features("clip_score", **options_of(clip, options))
    assert features.embed(IMAGES, PROMPTS) == pytest.approx(embedded_by_transformers(clip), abs=1e-5)
    assert "normalization" not in features.record


@pytest.mark.parametrize("size", [224, {"shortest_edge": 224}])
def test_an_old_file_that_says_little_is_followed(clip: Path, options: dict[str, dict[str, Any]], size: Any) -> None:
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": size, "crop_size": 224, **HALVES}
    (clip / "preprocessor_config.json").write_text(json.dumps(old | {"do_normalize": True, "do_rescale": None}))
    assert load_features("clip_score", **options_of(clip, options)).normalization.deviation == (0.5, 0.25, 0.5)


@pytest.mark.parametrize("name", ["pick_score", "hpsv2_1"])
def test_published_models_keep_their_numbers(
    name: str, folder: Path, tmp_path: Path, options: dict[str, dict[str, Any]]
) -> None:
    copy = Path(shutil.copytree(options[name]["checkpoint"], tmp_path / "copy"))
    write(copy)
    expected = load_reward(name, **options[name]).score(IMAGES, PROMPTS)
    found = load_reward(name, **options[name] | {"checkpoint": str(copy)}).score(IMAGES, PROMPTS)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"size": {"shortest_edge": 256}}, "size = {'shortest_edge': 256}"),
        ({"size": {"height": 224, "width": 224}}, "size = {'height': 224, 'width': 224}"),
        ({"crop_size": {"height": 224, "width": 300}}, "crop_size = {'height': 224, 'width': 300}"),
        ({"crop_size": 336}, "crop_size = 336"),
        ({"resample": 2}, "resample = 2"),
        ({"do_center_crop": False}, "do_center_crop = False"),
        ({"do_normalize": False}, "do_normalize = False"),
        ({"rescale_factor": 1.0}, "rescale_factor = 1.0"),
        ({"image_processor_type": "SiglipImageProcessor"}, "image_processor_type = SiglipImageProcessor"),
        ({"image_mean": 0.5}, "image_mean = 0.5"),
        ({"image_mean": [0.5, float("nan"), 0.5]}, "image_mean = [0.5, nan, 0.5]"),
        ({"image_std": [0.5, 0.0, 0.5]}, "image_std = [0.5, 0.0, 0.5]"),
    ],
)
@pytest.mark.parametrize("attempt", [check_reward, load_reward])
def test_what_cannot_be_followed_is_refused(
    attempt: Any, changes: dict[str, Any], says: str, clip: Path, options: dict[str, dict[str, Any]]
) -> None:
    write(clip, **changes)
    with pytest.raises(CheckpointError, match="which is not followed: images are resized") as caught:
        attempt("clip_score", **options_of(clip, options))
    assert f"says {says}, which" in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00", "[" * 100_000])
def test_a_broken_processor_is_refused(content: str, clip: Path, options: dict[str, dict[str, Any]]) -> None:
    (clip / "preprocessor_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json' .*; download or save it again"):
        check_reward("clip_score", **options_of(clip, options))


@pytest.fixture
def repository(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of owner/clip in the hub's cache, offline."""
    repository = tmp_path / "hub/models--owner--clip"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0" * 40)
    shutil.copytree(clip, repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    commit_of.cache_clear()
    yield repository
    commit_of.cache_clear()


def test_the_processor_of_a_hub_id_is_read(repository: Path, options: dict[str, dict[str, Any]]) -> None:
    write(repository / "snapshots" / ("0" * 40))
    found = load_features("clip_score", **options_of(Path("owner/clip"), options))
    assert found.normalization.mean == (0.5, 0.5, 0.5)


def test_a_hub_id_whose_processor_is_unknown_is_refused(repository: Path, options: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(CheckpointError, match=r"the model hub did not give its preprocessor_config.json"):
        check_reward("clip_score", **options_of(Path("owner/clip"), options))


def test_a_hub_id_that_has_no_processor_has_openais_numbers(
    repository: Path, options: dict[str, dict[str, Any]]
) -> None:
    missing = repository / ".no_exist" / ("0" * 40)
    missing.mkdir(parents=True)
    for name in ("preprocessor_config.json", "processor_config.json"):  # as the hub's client notes them
        (missing / name).touch()
    found = load_features("clip_score", **options_of(Path("owner/clip"), options))
    assert found.normalization.mean[0] == pytest.approx(0.48145466)
