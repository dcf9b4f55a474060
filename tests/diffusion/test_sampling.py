"""An image is a function of its seed; adapters generate with diffusers as they do here."""

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from rsidiff_kedro.core.adapter import WEIGHTS_NAME
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import image_seed, sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter

SAMPLER = SamplerSettings(num_inference_steps=2, guidance_scale=2.0, micro_batch_size=4)
PROMPTS = pd.DataFrame({"prompt_id": ["aa", "bb", "cc"], "text": ["a red circle", "a blue square", "a cat, running"]})


def generate(model, adapter=None, prompts=PROMPTS, samples=2, purpose="test"):
    return sample_images(load_model(model), adapter, prompts, samples, SAMPLER, 0, purpose, "generating")


def pixels(images):
    return np.stack([np.asarray(image) for image in images.images])


@pytest.fixture(scope="module")
def adapter(model):
    """Return an adapter that was trained for three steps."""
    settings = FinetuneSettings(rank=2, steps=3, batch_size=2, learning_rate=1e-2)
    images = generate(model)
    training_set = TrainingSet(images.metadata.assign(round=1, weight=1.0), images.latents)
    parent = initial_adapter(load_model(model), settings, seed=0)
    return finetune(load_model(model), parent, training_set, settings, 0, 1)[0]


def test_every_prompt_gets_its_samples_with_metadata(model):
    images = generate(model)
    assert len(images) == 6
    assert images.latents.shape == (6, 4, 16, 16)
    assert images.metadata["prompt_id"].tolist() == ["aa", "aa", "bb", "bb", "cc", "cc"]
    assert images.metadata["image_id"].is_unique
    assert images.images[0].size == (32, 32)


def test_an_image_does_not_depend_on_the_order_or_the_company(model):
    together, alone = generate(model), generate(model, prompts=PROMPTS.iloc[[2, 0]])
    ids = {image_id: row for row, image_id in enumerate(together.metadata["image_id"])}
    rows = [ids[image_id] for image_id in alone.metadata["image_id"]]
    assert (pixels(together)[rows] == pixels(alone)).all()


def test_another_purpose_generates_other_images(model):
    assert (pixels(generate(model)) != pixels(generate(model, purpose="probe"))).any()


def test_no_prompts_give_no_images(model):
    assert len(generate(model, prompts=PROMPTS.iloc[:0])) == 0


def test_seeds_differ_in_each_part():
    seeds = {image_seed(*key) for key in [(0, "a", "p", 0), (1, "a", "p", 0), (0, "b", "p", 0), (0, "a", "q", 0)]}
    assert len(seeds | {image_seed(0, "a", "p", 1)}) == 5


def test_an_initial_adapter_generates_as_the_base_does(model):
    initial = initial_adapter(load_model(model), LoraSettings(rank=2), seed=0)
    assert (pixels(generate(model, initial)) == pixels(generate(model))).all()


def test_a_trained_adapter_changes_what_is_generated(model, adapter):
    assert (generate(model, adapter).latents - generate(model).latents).abs().max() > 1e-3


def test_an_unmodified_pipeline_generates_the_same_with_the_saved_adapter(model, model_folder, adapter, tmp_path):
    ours = generate(model, adapter, PROMPTS.iloc[:1], samples=1)
    save_file(adapter.weights, tmp_path / WEIGHTS_NAME)
    pipeline = StableDiffusionPipeline.from_pretrained(model_folder)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(tmp_path)
    seed = int(ours.metadata["seed"][0])
    noise = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(seed))
    theirs = pipeline("a red circle", latents=noise, num_inference_steps=2, guidance_scale=2.0).images[0]
    difference = np.abs(np.asarray(theirs, int) - np.asarray(ours.images[0], int))
    assert difference.max() <= 1
