"""Each family generates, trains and exports as diffusers does, and is recognised before anything is computed."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    PNDMScheduler,
    SanaPipeline,
    StableDiffusionPipeline,
)
from diffusers.training_utils import compute_loss_weighting_for_sd3
from safetensors.torch import save_file

from rsidiff_kedro.core.adapter import WEIGHTS_NAME
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets.adapter_folder import save_weights
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.footprint import own_resolution
from rsidiff_kedro.diffusion.opening import check_loss, check_model, load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter

SAMPLER = SamplerSettings(num_inference_steps=3, guidance_scale=3.0, micro_batch_size=2)
PROMPTS = pd.DataFrame({"prompt_id": ["aa", "bb"], "text": ["a red circle", "a blue square"]})
SETTINGS = FinetuneSettings(rank=2, steps=2, batch_size=4, learning_rate=1e-2)
TEXTS = PROMPTS["text"].tolist()

each_family = pytest.mark.parametrize("family", FAMILIES.names)


def once(make):
    """Return a function that makes the same of the same settings once, for all tests."""
    made = {}

    def remember(*settings):
        key = tuple(each.model_dump_json() for each in settings)
        if key not in made:
            made[key] = make(*settings)
        return made[key]

    return remember


OLD = [("0.6.0", 64), ("0.8.1.dev0", 64), ("0.9.0.dev0", 32), (None, 32)]


@pytest.mark.parametrize(
    ("family", "version", "side"),
    [*(("stable_diffusion", *each) for each in OLD), ("stable_diffusion_xl", "0.6.0", 32)],
)
def test_the_size_told_of_a_folder_is_that_of_the_opened_model(family_folder, tmp_path, family, version, side):
    folder = shutil.copytree(family_folder(family), tmp_path / "model")
    path = folder / "unet" / "config.json"
    config = {**json.loads(path.read_text()), "sample_size": 32}
    model = ModelSettings(family=family, base=str(folder))
    for no_version in (None, "git-abc"):  # diffusers refuses it
        path.write_text(json.dumps(config | {"_diffusers_version": no_version}))
        assert own_resolution(folder, model) == 64
    path.write_text(json.dumps({name: value for name, value in config.items() if name != "_diffusers_version"}))
    if version is not None:
        path.write_text(json.dumps(config | {"_diffusers_version": version}))
    assert own_resolution(folder, model) == load_model(model).image_size == side * 2


def generate_with(adapter, model, sampler):
    return sample_images(load_model(model), adapter, PROMPTS, 2, sampler, 0, "test", "generating")


@once
def generate_with_none(model, sampler):
    return generate_with(None, model, sampler)


def generate(model, adapter=None, sampler=SAMPLER):
    return generate_with_none(model, sampler) if adapter is None else generate_with(adapter, model, sampler)


@once
def train_with(model, settings):
    images = generate(model)
    training_set = TrainingSet(images.metadata.assign(round=1, weight=1.0), images.latents)
    parent = initial_adapter(load_model(model), settings, seed=0)
    return finetune(load_model(model), parent, training_set, settings, 0, 1)


def train(model, settings=SETTINGS):
    return train_with(model, settings)


def generate_with_diffusers(folder, images, row, adapter_folder=None, guidance_scale=3.0, **components):
    """Return a row's image as an unmodified pipeline generates it from the same text and seed."""
    pipeline = DiffusionPipeline.from_pretrained(folder, **components)
    pipeline.set_progress_bar_config(disable=True)
    if adapter_folder is not None:
        pipeline.load_lora_weights(adapter_folder)
    generator = torch.Generator().manual_seed(int(images.metadata["seed"][row]))
    text = images.metadata["text"][row]
    # Sana's own default generates 512 pixels and scales them down.
    binning = {"use_resolution_binning": False} if isinstance(pipeline, SanaPipeline) else {}
    size = {"height": 32, "width": 32, **binning}
    return pipeline(text, generator=generator, num_inference_steps=3, guidance_scale=guidance_scale, **size).images[0]


def difference(one, other):
    """Return the largest difference of two images, in steps of 1/255."""
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


@pytest.fixture
def model(family_folder, family):
    return ModelSettings(family=family, base=str(family_folder(family)), resolution=32)


@each_family
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_family_generates_what_an_unmodified_pipeline_generates(family_folder, model, family, guidance_scale):
    images = generate(model, sampler=SAMPLER.model_copy(update={"guidance_scale": guidance_scale}))
    for row in (0, 3):
        theirs = generate_with_diffusers(family_folder(family), images, row, guidance_scale=guidance_scale)
        assert difference(theirs, images.images[row]) <= 1


@each_family
def test_a_trained_adapter_generates_the_same_in_an_unmodified_pipeline(family_folder, model, family, tmp_path):
    adapter, _ = train(model, SETTINGS.model_copy(update={"learning_rate": 0.05}))
    images = generate(model, adapter)
    save_file(adapter.weights, tmp_path / WEIGHTS_NAME)
    assert difference(generate_with_diffusers(family_folder(family), images, 3, tmp_path), images.images[3]) <= 1
    assert difference(generate(model).images[3], images.images[3]) > 3


@each_family
def test_an_adapter_with_pefts_options_generates_the_same_in_an_unmodified_pipeline(
    family_folder, model, family, tmp_path
):
    options = {"lora_alpha": 6.0, "lora_dropout": 0.3, "use_rslora": True, "use_dora": True, "layers": "attention"}
    adapter, _ = train(model, SETTINGS.model_copy(update={**options, "learning_rate": 0.05}))
    images = generate(model, adapter)
    save_weights(adapter, tmp_path / WEIGHTS_NAME)
    assert difference(generate_with_diffusers(family_folder(family), images, 3, tmp_path), images.images[3]) <= 1
    assert difference(generate(model).images[3], images.images[3]) > 3


@pytest.mark.parametrize(
    "scheduler", [PNDMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, DDPMScheduler]
)
def test_images_are_generated_with_the_pipelines_own_scheduler(family_folder, scheduler, tmp_path):
    pipeline = StableDiffusionPipeline.from_pretrained(family_folder("stable_diffusion"))
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, skip_prk_steps=True)
    pipeline.save_pretrained(tmp_path)
    images = generate(ModelSettings(base=str(tmp_path)))
    assert difference(generate_with_diffusers(tmp_path, images, 0), images.images[0]) <= 1


@each_family
@pytest.mark.parametrize("layers", ["attention", "all"])
def test_an_adapter_changes_the_layers_that_it_names(model, layers):
    adapter, _ = train(model, SETTINGS.model_copy(update={"layers": layers}))
    trained = {name.split(".lora_")[0] for name, value in adapter.weights.items() if "lora_B" in name and value.any()}
    named = {name.split(".lora_")[0] for name in adapter.weights}
    # The last block of Stable Diffusion 3 drops the text's part: what feeds that alone gets no gradient.
    assert trained <= named and len(trained) > len(named) / 2
    assert any(".attn" in name for name in named)
    assert any(".attn" not in name for name in named) == (layers == "all")


@pytest.mark.parametrize("logit_mean", [None, 1.5])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl"])
def test_the_loss_of_a_unet_is_that_of_diffusers_examples(model, prediction_type, logit_mean, latents):
    opened = load_model(model)
    opened._noising = DDPMScheduler.from_config(opened.pipeline.scheduler.config, prediction_type=prediction_type)
    conditioning = opened.encode_prompts(TEXTS)
    settings = SETTINGS.model_copy(update={"logit_mean": logit_mean})
    ours = opened.training_loss(latents, conditioning, torch.Generator().manual_seed(3), settings)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(latents.shape, generator=generator)
    if logit_mean is None:
        timesteps = torch.randint(1000, (2,), generator=generator)
    else:
        timesteps = (torch.sigmoid(logit_mean + torch.randn(2, generator=generator)) * 1000).long()
    scheduler = opened._noising
    arguments = {}
    if "pooled_prompt_embeds" in conditioning.tensors:
        ids = torch.tensor([[32.0, 32.0, 0.0, 0.0, 32.0, 32.0]] * 2)
        added = {"time_ids": ids, "text_embeds": conditioning["pooled_prompt_embeds"]}
        arguments = {"added_cond_kwargs": added}
    noisy = scheduler.add_noise(latents, noise, timesteps)
    prediction = opened.pipeline.unet(noisy, timesteps, conditioning["prompt_embeds"], **arguments).sample
    target = noise if prediction_type == "epsilon" else scheduler.get_velocity(latents, noise, timesteps)
    expected = torch.nn.functional.mse_loss(prediction, target)
    assert ours.mean().item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("logit_mean", "scripts_mean"), [(None, 0.0), (1.5, -1.5)])
@pytest.mark.parametrize("family", ["stable_diffusion_3"])
def test_the_loss_of_stable_diffusion_3_is_that_of_diffusers_example(model, logit_mean, scripts_mean, latents):
    opened = load_model(model)
    conditioning = opened.encode_prompts(TEXTS)
    settings = SETTINGS.model_copy(update={"logit_mean": logit_mean})
    ours = opened.training_loss(latents, conditioning, torch.Generator().manual_seed(3), settings)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(latents.shape, generator=generator)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(opened.pipeline.scheduler.config)
    indices = (torch.sigmoid(scripts_mean + torch.randn(2, generator=generator)) * 1000).long()
    timesteps, sigmas = scheduler.timesteps[indices], scheduler.sigmas[indices][:, None, None, None]
    prediction = opened.pipeline.transformer(
        hidden_states=(1.0 - sigmas) * latents + sigmas * noise,
        timestep=timesteps,
        encoder_hidden_states=conditioning["prompt_embeds"],
        pooled_projections=conditioning["pooled_prompt_embeds"],
    ).sample
    weighting = compute_loss_weighting_for_sd3("logit_normal", sigmas)
    # The example with --precondition_outputs=0.
    expected = weighting * (prediction - (noise - latents)).square()
    assert ours.mean().item() == pytest.approx(expected.mean().item(), rel=1e-6)


@pytest.mark.parametrize("family", ["flux"])
def test_the_loss_of_flux_is_that_of_diffusers_example(model, latents):
    opened = load_model(model)
    conditioning = opened.encode_prompts(TEXTS)
    ours = opened.training_loss(latents, conditioning, torch.Generator().manual_seed(3), SETTINGS)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(latents.shape, generator=generator)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(opened.pipeline.scheduler.config)
    indices = (torch.sigmoid(torch.randn(2, generator=generator)) * 1000).long()
    timesteps, sigmas = scheduler.timesteps[indices], scheduler.sigmas[indices][:, None, None, None]
    prediction = opened.pipeline.transformer(
        hidden_states=FluxPipeline._pack_latents((1.0 - sigmas) * latents + sigmas * noise, 2, 4, 16, 16),
        timestep=timesteps / 1000,
        guidance=torch.tensor([3.5]).expand(2),
        pooled_projections=conditioning["pooled_prompt_embeds"],
        encoder_hidden_states=conditioning["prompt_embeds"],
        txt_ids=torch.zeros(512, 3),
        img_ids=FluxPipeline._prepare_latent_image_ids(2, 8, 8, "cpu", torch.float32),
    ).sample
    prediction = FluxPipeline._unpack_latents(prediction, height=32, width=32, vae_scale_factor=2)
    expected = (prediction - (noise - latents)).square()
    assert ours.mean().item() == pytest.approx(expected.mean().item(), rel=1e-6)


@pytest.mark.parametrize("family", ["sana"])
def test_the_loss_of_sana_is_that_of_diffusers_example(model, latents):
    opened = load_model(model)
    conditioning = opened.encode_prompts(TEXTS)
    ours = opened.training_loss(latents, conditioning, torch.Generator().manual_seed(3), SETTINGS)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(latents.shape, generator=generator)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(opened.pipeline.scheduler.config)
    indices = (torch.sigmoid(torch.randn(2, generator=generator)) * 1000).long()
    timesteps, sigmas = scheduler.timesteps[indices], scheduler.sigmas[indices][:, None, None, None]
    prediction = opened.pipeline.transformer(
        hidden_states=(1.0 - sigmas) * latents + sigmas * noise,
        encoder_hidden_states=conditioning["prompt_embeds"],
        encoder_attention_mask=conditioning["prompt_attention_mask"],
        timestep=timesteps,
    ).sample
    expected = (prediction - (noise - latents)).square()
    assert ours.mean().item() == pytest.approx(expected.mean().item(), rel=1e-6)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("family", ["stable_diffusion"])
def test_min_snr_multiplies_each_loss_by_its_weight(model, prediction_type, latents):
    opened = load_model(model)
    opened._noising = DDPMScheduler.from_config(opened.pipeline.scheduler.config, prediction_type=prediction_type)
    conditioning = opened.encode_prompts(TEXTS)
    plain, weighted = (
        opened.training_loss(latents, conditioning, torch.Generator().manual_seed(3), settings)
        for settings in (SETTINGS, SETTINGS.model_copy(update={"min_snr_gamma": 5.0}))
    )
    generator = torch.Generator().manual_seed(3)
    torch.randn(latents.shape, generator=generator)
    signal = opened._noising.alphas_cumprod[torch.randint(1000, (2,), generator=generator)]
    snr = signal / (1 - signal)
    expected = snr.clamp(max=5.0) / (snr if prediction_type == "epsilon" else snr + 1)
    assert (weighted / plain).detach().numpy() == pytest.approx(expected.numpy(), rel=1e-4)


@each_family
def test_a_logit_mean_above_zero_trains_on_noisier_images(model, family, latents):
    opened = load_model(model)
    conditioning, seen = opened.encode_prompts(TEXTS * 16), []

    def look(_, given, named):
        timesteps = named["timestep"] if "timestep" in named else given[1]
        seen.append(timesteps.float().mean().item() * (1000 if family == "flux" else 1))  # Flux reads 0 to 1

    opened.denoiser.register_forward_pre_hook(look, with_kwargs=True)
    for mean in (-2.0, 2.0):
        settings = SETTINGS.model_copy(update={"logit_mean": mean})
        opened.training_loss(latents.repeat(16, 1, 1, 1), conditioning, torch.Generator().manual_seed(3), settings)
    assert seen[0] < 400 and seen[1] > 750  # the shift of Stable Diffusion 3 moves both up


@pytest.mark.parametrize("family", ["stable_diffusion"])
def test_a_model_that_predicts_the_image_cannot_be_fine_tuned(model, latents):
    opened = load_model(model)
    opened._noising = DDPMScheduler.from_config(opened.pipeline.scheduler.config, prediction_type="sample")
    with pytest.raises(InputError, match="'sample'"):
        opened.training_loss(latents, opened.encode_prompts(TEXTS), torch.Generator(), SETTINGS)


@pytest.fixture
def latents():
    return torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(7))


@each_family
def test_weights_of_one_are_the_unweighted_loss(model, latents):
    log = train(model)[1]
    opened, images = load_model(model), generate(model)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1_000_003)
    dropped = torch.rand(4, generator=generator) < SETTINGS.condition_dropout
    opened.add_adapter(SETTINGS)
    opened.denoiser.train()
    conditioning = opened.encode_prompts([images.metadata["text"][int(row)] for row in order])
    conditioning = conditioning.replace(dropped, opened.encode_no_prompt())
    loss = opened.training_loss(images.latents[order], conditioning, generator, SETTINGS).mean()
    assert log["loss"][0] == pytest.approx(loss.item(), rel=1e-5)


@each_family
def test_bfloat16_trains_an_adapter_of_float32(model):
    narrow = model.model_copy(update={"dtype": "bfloat16"})
    images = generate(narrow)
    # As they were computed, half the size of float32, in which Sana's pipeline keeps them.
    assert images.latents.dtype == (torch.float32 if narrow.family == "sana" else torch.bfloat16)
    adapter, log = train(narrow)
    assert np.isfinite(log["loss"]).all()
    assert {value.dtype for value in adapter.weights.values()} == {torch.float32}
    assert (generate(narrow, adapter).latents - generate(narrow).latents).abs().max() > 0


@each_family
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_goes_on_from_the_adapters_exact_values(model, dtype):
    adapter, _ = train(model)
    opened = load_model(model.model_copy(update={"dtype": dtype}))
    opened.load_adapter(adapter, trainable=True)
    exported = opened.export_adapter()
    assert exported.keys() == adapter.weights.keys()
    assert all(torch.equal(exported[name], value) for name, value in adapter.weights.items())


def test_an_autoencoder_with_a_latent_mean_generates_the_same_in_an_unmodified_pipeline(family_folder, tmp_path):
    folder = shutil.copytree(family_folder("stable_diffusion_xl"), tmp_path / "model")
    autoencoder = AutoencoderKL.from_pretrained(folder / "vae")
    autoencoder.register_to_config(latents_mean=[0.1, 0.2, -0.3, 0.4], latents_std=[2.0, 3.0, 4.0, 5.0])
    autoencoder.save_pretrained(folder / "vae")
    model = ModelSettings(family="stable_diffusion_xl", base=str(folder))
    images = generate(model)
    assert difference(generate_with_diffusers(folder, images, 0), images.images[0]) <= 1
    opened = load_model(model)
    pixels = opened.pipeline.image_processor.preprocess([images.images[0]])
    plain = opened.pipeline.vae.encode(pixels).latent_dist.mode()[0]
    mean, deviation = torch.tensor([0.1, 0.2, -0.3, 0.4]), torch.tensor([2.0, 3.0, 4.0, 5.0])
    expected = (plain - mean[:, None, None]) * opened.pipeline.vae.config.scaling_factor / deviation[:, None, None]
    assert torch.allclose(opened.encode_images([images.images[0]])[0], expected, atol=1e-5)


@each_family
def test_less_memory_gives_the_same_adapter(model):
    sparing = SETTINGS.model_copy(update={"gradient_checkpointing": True})
    one, other = train(model)[0], train(model, sparing)[0]
    assert all(torch.allclose(one.weights[name], other.weights[name], atol=1e-4) for name in one.weights)


@each_family
def test_micro_batches_share_one_step(model):
    adapter, log = train(model, SETTINGS.model_copy(update={"micro_batch_size": 3}))
    assert len(log) == SETTINGS.steps
    assert adapter.digest != train(model)[0].digest  # its noise is sampled in another order


@each_family
def test_the_resolution_can_be_another_than_the_models_own(model):
    images = generate(model.model_copy(update={"resolution": 64}))
    assert images.images[0].size == (64, 64)
    assert images.latents.shape[1:] == (4, 32, 32)


def test_stable_diffusion_3_generates_and_trains_without_t5(family_folder):
    model = ModelSettings(
        family="stable_diffusion_3", base=str(family_folder("stable_diffusion_3")), options={"t5": False}
    )
    images = generate(model)
    left_out = {"text_encoder_3": None, "tokenizer_3": None}
    theirs = generate_with_diffusers(family_folder("stable_diffusion_3"), images, 0, **left_out)
    assert difference(theirs, images.images[0]) <= 1
    assert np.isfinite(train(model)[1]["loss"]).all()


@each_family
def test_fine_tuning_frees_text_encoders_and_autoencoder(model):
    opened = load_model(model)
    opened.release_encoders()
    left = [name for name, part in opened.pipeline.components.items() if isinstance(part, torch.nn.Module)]
    assert left == [opened.denoiser_name]


@each_family
def test_a_folder_of_another_family_is_refused_with_the_setting_to_change(family_folder, family):
    other = "stable_diffusion_3" if family != "stable_diffusion_3" else "stable_diffusion"
    with pytest.raises(ModelError, match=f"set model.family={family}$"):
        check_model(ModelSettings(family=other, base=str(family_folder(family))))


def test_an_unknown_family_is_answered_with_those_there_are():
    with pytest.raises(ModelError, match="there are stable_diffusion, stable_diffusion_xl, stable_diffusion_3, flux"):
        check_model(ModelSettings(family="kandinsky", base="scenes"))


def test_min_snr_is_refused_where_it_is_not_defined():
    settings = SETTINGS.model_copy(update={"min_snr_gamma": 5.0})
    check_loss(ModelSettings(base="scenes"), settings)
    with pytest.raises(ModelError, match="min_snr_gamma=null"):
        check_loss(ModelSettings(family="stable_diffusion_3", base="scenes"), settings)


def test_a_resolution_beyond_the_models_positions_is_refused(family_folder):
    model = ModelSettings(family="stable_diffusion_3", base=str(family_folder("stable_diffusion_3")), resolution=96)
    with pytest.raises(ModelError, match="generates 64 pixels per side at most"):
        load_model(model)


def test_a_device_that_is_not_there_is_refused_before_anything_is_opened(family_folder):
    absent = next(name for name in ("cuda", "mps") if not getattr(torch, name).is_available())
    with pytest.raises(ModelError, match=f"model.device is '{absent}'"):
        check_model(ModelSettings(base="scenes", device=absent))
