"""Fine-tuning: weights multiply the loss, runs repeat, mistakes are said before compute is spent."""

import pandas as pd
import pytest
import torch
from rsidiff_kedro.diffusion.settings import FinetuneSettings, SamplerSettings

from rsidiff_kedro.diffusion.families import load_backbone
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.training import TrainingError, finetune, initial_adapter

SETTINGS = FinetuneSettings(rank=2, steps=3, batch_size=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def images(model):
    prompts = pd.DataFrame({"prompt_id": ["aa", "bb"], "text": ["a red circle", "a blue square"]})
    sampler = SamplerSettings(num_inference_steps=2, micro_batch_size=4)
    drawn = sample_images(load_backbone(model), None, prompts, 4, sampler, 0, "round_1", "drawing")
    drawn.metadata["weight"] = 1.0
    return drawn


def train(model, images, settings=SETTINGS):
    parent = initial_adapter(load_backbone(model), settings, seed=0)
    return parent, *finetune(load_backbone(model), parent, images, settings, 0, 1)


def test_training_changes_the_adapter_and_logs_each_step(model, images):
    parent, adapter, log = train(model, images)
    assert adapter.digest != parent.digest
    assert list(log.columns) == ["step", "loss", "learning_rate"]
    assert log["step"].tolist() == [0, 1, 2]
    assert (adapter.info["parent"], adapter.info["round"]) == (parent.digest, 1)


def test_training_repeats_to_the_byte(model, images):
    assert train(model, images)[1].digest == train(model, images)[1].digest


def test_images_of_weight_zero_teach_nothing(model, images):
    nothing = images.select(range(len(images)))
    nothing.metadata["weight"] = 0.0
    _, adapter, log = train(model, nothing)
    assert (log["loss"] == 0).all()
    assert all(value.abs().max() == 0 for name, value in adapter.weights.items() if "lora_B" in name)


def test_an_adapter_holds_the_targets_that_its_layers_name(model, images):
    attention = train(model, images, SETTINGS.model_copy(update={"layers": "attention"}))[1]
    everything = train(model, images)[1]
    assert set(attention.weights) < set(everything.weights)
    assert all(".attn" in name for name in attention.weights)


@pytest.mark.parametrize("change", [{"ema_decay": 0.9}, {"min_snr_gamma": 5.0}, {"adapter": "restart"}])
def test_each_option_gives_another_adapter(model, images, change):
    assert train(model, images, SETTINGS.model_copy(update=change))[1].digest != train(model, images)[1].digest


def test_the_loss_is_the_schedulers_own_velocity_error(model, images):
    backbone = load_backbone(model)
    clear, texts = images.latents[:4], images.metadata["text"].tolist()[:4]
    embeddings = backbone.encode_prompts(texts)
    losses = backbone.training_loss(clear, embeddings, torch.Generator().manual_seed(3), SETTINGS)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(clear.shape, generator=generator)
    timesteps = torch.randint(1000, (4,), generator=generator)
    alphas = backbone.pipeline.scheduler.alphas_cumprod[timesteps][:, None, None, None]
    noisy = alphas.sqrt() * clear + (1 - alphas).sqrt() * noise
    velocity = alphas.sqrt() * noise - (1 - alphas).sqrt() * clear
    expected = (backbone.denoiser(noisy, timesteps, embeddings.states).sample - velocity).square().mean(dim=(1, 2, 3))
    assert losses.detach().numpy() == pytest.approx(expected.detach().numpy(), rel=1e-5)


def test_an_empty_training_set_is_refused(model, images):
    with pytest.raises(TrainingError, match="keep more"):
        train(model, images.select([]))


def test_an_exploding_loss_stops_with_the_parameter_to_change(model, images):
    broken = images.select(range(len(images)))
    broken.metadata["weight"] = float("inf")
    with pytest.raises(TrainingError, match="learning_rate"):
        train(model, broken)
