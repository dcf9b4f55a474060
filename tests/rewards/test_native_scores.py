"""Preference models of real images: the official packages' scores, and any image with any prompt.

golden.json holds scores of the official packages (hpsv2x 1.2.0, image-reward 1.5, torch 2.1.2) on the weights, images
and prompts of benchmarks/parity/samples.py; `python benchmarks/parity/run.py --save …` writes it.
"""

import json
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import samples
from PIL import Image
from transformers import CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from rsidiff_kedro.rewards import preprocessing
from rsidiff_kedro.rewards.preprocessing import longest_side_padded, normalized, shortest_side_cropped, to_rgb
from rsidiff_kedro.rewards.registry import FEATURES, REWARDS, load_features, load_reward

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
BOUNDS = {"hpsv2_1": 1e-5, "image_reward": 2e-5}
REAL = ["hpsv2_1", "hpsv2_0", "image_reward", "pick_score", "clip_score", "aesthetic"]
PAIRS = [(image, prompt) for prompt in samples.PROMPTS for image in samples.images()]


def pairs_of(images, prompts):
    return [*zip(*[(image, prompt) for prompt in prompts for image in images], strict=True)]


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def odd_images() -> list[Image.Image]:
    sixteen = np.random.default_rng(1).integers(0, 65536, (50, 60)).astype(np.uint16)
    return [
        *(picture(50, 60, mode) for mode in ("RGBA", "L", "LA", "P", "1", "CMYK", "I", "F")),
        Image.fromarray(sixteen),
        *(picture(*size) for size in ((1, 1), (1, 5000), (5000, 1), (224, 100), (100, 224), (225, 224))),
    ]


@pytest.mark.parametrize("name", BOUNDS)
def test_scores_are_the_official_packages(name, options):
    scores = load_reward(name, **options[name]).score(*zip(*PAIRS, strict=True))
    assert np.abs(scores - GOLDEN[name]).max() <= BOUNDS[name]
    assert scores.std() > 100 * BOUNDS[name]


@pytest.mark.parametrize("name", REAL)
def test_any_image_with_any_prompt_gets_a_finite_score(name, options):
    images = odd_images()
    reward = load_reward(name, **options[name])
    scores = reward.score(*pairs_of(images, ["", "a red dog " * 200, "собака 犬 🐕\n\t", "<|endoftext|>[SEP]"]))
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", REAL)
def test_a_score_depends_neither_on_the_order_nor_on_the_company(name, options):
    images, prompts = samples.images()[:5], samples.PROMPTS[:3]
    pairs = [(image, prompt) for prompt in prompts for image in images]
    together = load_reward(name, **options[name]).score(*zip(*pairs, strict=True))
    shuffled = load_reward(name, **options[name]).score(*zip(*pairs[::-1], strict=True))[::-1]
    alone = load_reward(name, **options[name]).score([pairs[7][0]], [pairs[7][1]])
    assert np.array_equal(together, shuffled)
    assert alone[0] == together[7]


@pytest.mark.parametrize("name", REAL)
def test_nothing_to_score_is_no_error(name, options):
    assert load_reward(name, **options[name]).score([], []).shape == (0,)


@pytest.mark.parametrize(("name", "tower"), [("hpsv2_1", "vision_model"), ("image_reward", "vision")])
def test_each_distinct_image_is_encoded_once_however_many_prompts_it_has(name, tower, options):
    reward = load_reward(name, **options[name])
    batches = []
    getattr(reward.network, tower).register_forward_hook(lambda *_: batches.append(1))
    images = samples.images()[:8]
    reward.score(*pairs_of([*images, images[0].copy()], ["a red dog", "a cat", ""]))
    assert len(batches) == 1


class OpenedWhenTaken(Sequence):
    """Images that are opened when they are taken; counts how many are held at once, at most."""

    def __init__(self, count: int) -> None:
        self.count, self.held, self.most = count, 0, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place):
        if not 0 <= place < self.count:
            raise IndexError(place)
        image = picture(40, 40, seed=place)
        self.held += 1
        self.most = max(self.most, self.held)
        weakref.finalize(image, self._closed)
        return image

    def _closed(self) -> None:
        self.held -= 1


@pytest.mark.parametrize("name", REAL)
def test_no_more_images_are_held_than_are_computed_at_once(name, options):
    images = OpenedWhenTaken(17)
    scores = load_reward(name, **options[name] | {"micro_batch_size": 4}).score(images, ["a red dog"] * 17)
    assert images.most == 4
    assert len(set(scores.tolist())) == 17


@pytest.mark.parametrize("name", [name for name in REAL if name != "aesthetic"])
def test_fewer_prompts_than_images_are_refused(name, options):
    with pytest.raises(ValueError):
        load_reward(name, **options[name]).score(samples.images()[:2], ["a red dog"])


def test_a_clip_encodes_what_it_has_seen_in_no_later_call_either(options):
    reward = load_reward("hpsv2_1", **options["hpsv2_1"])
    batches = []
    for tower in (reward.network.vision_model, reward.network.text_model):
        tower.register_forward_hook(lambda *_: batches.append(1))
    image = samples.images()[0]
    first = reward.score([image], ["a red dog"])
    assert np.array_equal(first, reward.score([image.copy()], ["a red dog"]))
    assert len(batches) == 2


@pytest.mark.parametrize("mode", ["P", "PA"])
def test_images_of_one_bytes_but_two_palettes_are_two_images(options, mode):
    images = [Image.new("P", (40, 40), 1), Image.new("P", (40, 40), 1)]
    for image, color in zip(images, ([255, 0, 0], [0, 0, 255]), strict=True):
        image.putpalette([0, 0, 0, *color])
    images = [image.convert(mode) for image in images]
    scores = load_reward("hpsv2_1", **options["hpsv2_1"]).score(images, ["a red dog"] * 2)
    assert scores[0] != scores[1]


def test_antialiasing_changes_what_is_resized_alone_and_is_recorded(options):
    images = [picture(512, 512), picture(224, 100)]
    plain, smooth = (load_reward("hpsv2_1", antialias=on, **options["hpsv2_1"]) for on in (False, True))
    difference = np.abs(plain.score(images, ["a cat"] * 2) - smooth.score(images, ["a cat"] * 2))
    assert difference[0] > 1e-4
    assert difference[1] == 0
    assert (plain.record["antialias"], smooth.record["antialias"]) == (False, True)


@pytest.mark.parametrize("name", REAL)
def test_lower_precision_gives_float32_scores_near_by(name, options):
    images, prompts = samples.images()[:3], samples.PROMPTS[:3]
    exact = load_reward(name, **options[name]).score(images, prompts)
    rough = load_reward(name, dtype="bfloat16", **options[name]).score(images, prompts)
    assert rough.dtype == np.float32
    assert np.abs(exact - rough).max() < 0.1 * max(1.0, np.abs(exact).max())


def test_pick_score_and_clip_score_are_the_models_own_logits_and_cosines(folder, options):
    model = CLIPModel.from_pretrained(folder / "clip").eval()
    images, prompts = samples.images()[:3], ["a red dog", "", "portrait of a man " * 40]
    reward = load_reward("pick_score", **options["pick_score"])
    pixels = CLIPImageProcessorPil()(images=images, return_tensors="pt").pixel_values
    tokens = reward.tokenizer(prompts, padding=True, truncation=True, max_length=77, return_tensors="pt")
    with torch.no_grad():
        logits = model(pixel_values=pixels, **tokens).logits_per_image.diagonal().numpy()
    scale = float(model.logit_scale.detach().exp())
    assert reward.score(images, prompts) == pytest.approx(logits, abs=1e-3)
    clip_score = load_reward("clip_score", **options["clip_score"]).score(images, prompts)
    assert clip_score == pytest.approx(np.maximum(100 * logits / scale, 0), abs=1e-3)


def test_a_prompt_ends_where_it_does_in_old_configurations_too(folder, tmp_path, options):
    """Older ones name 2 as the end token; transformers then takes the highest, and ours are padded with zeros."""
    shutil.copytree(folder / "clip", tmp_path / "old")
    config = json.loads((tmp_path / "old" / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    prompts = ["a red dog", "", "portrait of a man " * 40]
    features = [
        load_reward("clip_score", **options["clip_score"] | {"checkpoint": str(source)}).prompt_features(prompts)
        for source in (folder / "clip", tmp_path / "old")
    ]
    assert torch.equal(*features)


def test_the_aesthetic_score_is_the_heads_of_the_image_alone(folder, options):
    images = samples.images()[:3]
    reward = load_reward("aesthetic", **options["aesthetic"])
    assert np.array_equal(reward.score(images, ["a"] * 3), reward.score(images, ["b"] * 3))
    state = torch.load(folder / "aesthetic" / "aesthetic-model.pth", weights_only=True)
    features = reward.image_features(images)
    for number in samples.HEAD_NUMBERS:
        features = features @ state[f"layers.{number}.weight"].T + state[f"layers.{number}.bias"]
    assert reward.score(images, ["a"] * 3) == pytest.approx(features[:, 0].numpy(), abs=1e-4)


@pytest.mark.parametrize("name", ["hpsv2_1", "pick_score", "clip_score"])
def test_image_features_have_length_one_and_do_not_read_the_prompt(name, options):
    images = samples.images()[:3]
    features = load_features(name, **options[name])
    embedded = features.embed(images, ["a red dog"] * 3)
    assert embedded.dtype == np.float32
    assert embedded.shape == (3, 32)
    assert np.linalg.norm(embedded, axis=1) == pytest.approx(1.0, abs=1e-6)
    assert np.array_equal(embedded, features.embed(images, [""] * 3))
    assert features.embed([], []).shape == (0, 32)


def test_the_registry_has_every_name():
    assert set(REWARDS.names) == {"proxy", "oracle", "votes", *REAL}
    assert set(FEATURES.names) == {"proxy", "hpsv2_1", "pick_score", "clip_score"}


@pytest.mark.parametrize("size", [(300, 401), (401, 300), (31, 17), (224, 224), (640, 361)])
def test_crops_are_transformers_own(size):
    image = picture(*size)
    theirs = CLIPImageProcessorPil()(images=[image], return_tensors="pt").pixel_values[0]
    assert torch.allclose(shortest_side_cropped(image, 224, round_offset=False), theirs, atol=1e-5)


@pytest.mark.parametrize("size", [(1500, 40), (40, 1500), (300, 401)])
def test_a_crop_that_is_taken_before_resizing_is_that_of_the_whole_within_a_step_of_255(size, monkeypatch):
    image = picture(*size)
    whole = shortest_side_cropped(image, 224, round_offset=True)
    monkeypatch.setattr(preprocessing, "MOST_PIXELS", 0)
    shift = shortest_side_cropped(image, 224, round_offset=True) - whole
    assert shift.abs().mean() * 0.27 <= 1 / 255


def test_padding_is_black_before_it_is_normalized():
    padded = longest_side_padded(Image.new("RGB", (100, 50), "white"), 224, antialias=False)
    black, white = normalized(torch.zeros(3, 1, 1)), normalized(torch.ones(3, 1, 1))
    assert torch.allclose(padded[:, :56], black.expand(-1, 56, 224))
    assert torch.allclose(padded[:, 60:160], white.expand(-1, 100, 224), atol=1e-5)


def test_an_image_that_has_the_networks_longest_side_is_padded_and_not_resized():
    image = picture(224, 100)
    padded = longest_side_padded(image, 224, antialias=False)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255
    assert torch.equal(padded[:, 62:162], normalized(pixels))


def test_sixteen_bits_become_eight():
    pixels = np.array([[0, 257, 65535]], np.uint16)
    assert [value[0] for value in np.array(to_rgb(Image.fromarray(pixels)))[0].tolist()] == [0, 1, 255]
