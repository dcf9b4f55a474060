"""Fine-tuning: weights multiply the loss, runs repeat, mistakes are said before compute is spent."""

import pandas as pd
import pytest
import torch

from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import TrainingError, finetune, initial_adapter

SETTINGS = FinetuneSettings(rank=2, steps=3, batch_size=4, learning_rate=1e-2)


@pytest.fixture(scope="module")
def training_set(model):
    prompts = pd.DataFrame({"prompt_id": ["aa", "bb"], "text": ["a red circle", "a blue square"]})
    sampler = SamplerSettings(num_inference_steps=2, micro_batch_size=4)
    images = sample_images(load_model(model), None, prompts, 4, sampler, 0, "round_1", "generating")
    return TrainingSet(images.metadata.assign(round=1, weight=1.0), images.latents)


def train(model, training_set, settings=SETTINGS):
    parent = initial_adapter(load_model(model), settings, seed=0)
    return parent, *finetune(load_model(model), parent, training_set, settings, 0, 1)


def with_weight(training_set, weight):
    return TrainingSet(training_set.metadata.assign(weight=weight), training_set.latents)


def test_training_changes_the_adapter_and_logs_each_step(model, training_set):
    parent, adapter, log = train(model, training_set)
    assert adapter.digest != parent.digest
    assert list(log.columns) == ["step", "loss", "learning_rate"]
    assert log["step"].tolist() == [0, 1, 2]
    assert (adapter.info["parent"], adapter.info["round"]) == (parent.digest, 1)


def test_training_repeats_to_the_byte(model, training_set):
    assert train(model, training_set)[1].digest == train(model, training_set)[1].digest


def test_a_model_whose_adapter_was_removed_trains_as_a_fresh_one(model, training_set):
    parent, adapter, log = train(model, training_set)
    opened = load_model(model)
    before = {name: value.clone() for name, value in opened.denoiser.state_dict().items()}
    initial_adapter(opened, SETTINGS, seed=1)
    opened.remove_adapter()
    after = opened.denoiser.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    again, again_log = finetune(opened, parent, training_set, SETTINGS, 0, 1)
    assert again.digest == adapter.digest
    pd.testing.assert_frame_equal(again_log, log)


def test_images_of_weight_zero_teach_nothing(model, training_set):
    _, adapter, log = train(model, with_weight(training_set, 0.0))
    assert (log["loss"] == 0).all()
    assert all(value.abs().max() == 0 for name, value in adapter.weights.items() if "lora_B" in name)


def test_an_adapter_holds_the_targets_that_its_layers_name(model, training_set):
    attention = train(model, training_set, SETTINGS.model_copy(update={"layers": "attention"}))[1]
    everything = train(model, training_set)[1]
    assert set(attention.weights) < set(everything.weights)
    assert all(".attn" in name for name in attention.weights)


@pytest.mark.parametrize("change", [{"ema_decay": 0.9}, {"min_snr_gamma": 5.0}, {"adapter": "restart"}])
def test_each_option_gives_another_adapter(model, training_set, change):
    changed = train(model, training_set, SETTINGS.model_copy(update=change))[1]
    assert changed.digest != train(model, training_set)[1].digest


def test_the_loss_is_the_schedulers_own_velocity_error(model, training_set):
    opened = load_model(model)
    clear, texts = training_set.latents[:4], training_set.metadata["text"].tolist()[:4]
    conditioning = opened.encode_prompts(texts)
    losses = opened.training_loss(clear, conditioning, torch.Generator().manual_seed(3), SETTINGS)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(clear.shape, generator=generator)
    timesteps = torch.randint(1000, (4,), generator=generator)
    alphas = opened.pipeline.scheduler.alphas_cumprod[timesteps][:, None, None, None]
    noisy = alphas.sqrt() * clear + (1 - alphas).sqrt() * noise
    velocity = alphas.sqrt() * noise - (1 - alphas).sqrt() * clear
    prediction = opened.denoiser(noisy, timesteps, conditioning["prompt_embeds"]).sample
    expected = (prediction - velocity).square().mean(dim=(1, 2, 3))
    assert losses.detach().numpy() == pytest.approx(expected.detach().numpy(), rel=1e-5)


def test_an_empty_training_set_is_refused(model, training_set):
    with pytest.raises(TrainingError, match="keep more"):
        train(model, training_set.select([]))


def test_an_exploding_loss_stops_with_the_parameter_to_change(model, training_set):
    with pytest.raises(TrainingError, match="learning_rate"):
        train(model, with_weight(training_set, float("inf")))
