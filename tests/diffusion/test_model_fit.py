"""A base that the method cannot sample or train as it was trained is refused from its configs; sound ones are not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from transformers import CLIPTokenizer

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.model_fit import check_fit
from rsidiff_kedro.diffusion.model_folder import check_components, component_class
from rsidiff_kedro.diffusion.opening import check_loss, check_model, load_model
from rsidiff_kedro.diffusion.settings import LossSettings, ModelSettings, SamplerSettings

UNET, VAE, SCHEDULER, INDEX = (
    "unet/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
    "model_index.json",
)
MISFITS = {
    "inpainting": (
        UNET,
        {"in_channels": 9},
        "reads 9 channels and its autoencoder makes 4, so it is made for inpainting",
    ),
    "InstructPix2Pix": (UNET, {"in_channels": 8}, "made for editing images by instructions"),
    "depth": (UNET, {"in_channels": 5}, "made for generating from depth"),
    "another autoencoder": (VAE, {"latent_channels": 16}, "reads 4 channels and its autoencoder makes 16"),
    "guidance-distilled": (UNET, {"time_cond_proj_dim": 256}, "give the model that it was distilled from"),
    "an unreasonable size": (UNET, {"sample_size": 0}, "generates 0 latents per side"),
    "a huge size": (UNET, {"sample_size": 1025}, "generates 1025 latents per side"),
    "a single latent": (UNET, {"sample_size": 1}, "generates 1 latents per side (sample_size), 2 pixels"),
    "a longer tokenizer": (
        "tokenizer/tokenizer_config.json",
        {"model_max_length": 77},
        "says model_max_length = 77, and text_encoder has positions for 16 tokens",
    ),
    "unknown prediction": (SCHEDULER, {"prediction_type": "foo"}, "predicts 'foo'"),
    "EDM": (INDEX, {"scheduler": ["diffusers", "EDMEulerScheduler"]}, "samples from EDM's noise levels"),
    "flow matching's scheduler": (
        INDEX,
        {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]},
        "is a scheduler of flow matching, and the family is not trained so",
    ),
    "unknown spacing": (SCHEDULER, {"timestep_spacing": "foo"}, "timestep_spacing is 'foo'; one of leading, trailing"),
    "too few betas": (SCHEDULER, {"trained_betas": [0.01] * 10}, "trained_betas are not 1000 numbers between 0 and 1"),
    "betas of nothing": (SCHEDULER, {"trained_betas": [0.0] * 1000}, "trained_betas are not 1000 numbers"),
    "noise that shrinks": (
        SCHEDULER,
        {"beta_start": 0.012, "beta_end": 0.00085},
        "from beta_start = 0.012 to beta_end",
    ),
    "noise of nothing": (SCHEDULER, {"beta_start": 0.0}, "from beta_start = 0.0"),
    "noise of more than all": (SCHEDULER, {"beta_end": 2.0}, "to beta_end = 2.0"),
    "a text for a number": (SCHEDULER, {"beta_end": "0.012"}, "to beta_end = '0.012'"),
    "thresholding": (SCHEDULER, {"thresholding": True}, "cuts latents to values between -1 and 1"),
    "sample-prediction": (SCHEDULER, {"prediction_type": "sample"}, "only epsilon and v_prediction can be fine-tuned"),
    "another pipeline": (
        INDEX,
        {"_class_name": "StableDiffusionInpaintPipeline"},
        "which no family generates with; stable_diffusion",
    ),
}


def edited(folder: Path, place: Path, file: str, entries: dict[str, object]) -> str:
    copy = shutil.copytree(folder, place / "model")
    content = json.loads((copy / file).read_text(encoding="utf-8"))
    (copy / file).write_text(json.dumps(content | entries), encoding="utf-8")
    return str(copy)


@pytest.mark.parametrize("name", MISFITS)
def test_a_model_that_does_not_fit_is_refused_from_its_configs(family_folder, tmp_path, name):
    file, entries, said = MISFITS[name]
    base = edited(family_folder("stable_diffusion"), tmp_path, file, entries)
    with pytest.raises(ModelError) as caught:
        check_model(ModelSettings(base=base))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("family", "name"), [("stable_diffusion", "tokenizer"), ("stable_diffusion_xl", "tokenizer_2")]
)
def test_a_token_that_the_text_encoder_does_not_know_is_refused(family_folder, tmp_path, family, name):
    copy = shutil.copytree(family_folder(family), tmp_path / "model")
    tokenizer = CLIPTokenizer.from_pretrained(copy / name)
    tokenizer.add_tokens(["<my-cat>"])
    tokenizer.save_pretrained(copy / name)
    with pytest.raises(ModelError, match=f"the {name} has the token '<my-cat>', number"):
        load_model(ModelSettings(family=family, base=str(copy), resolution=32))


def test_a_tokenizer_that_lost_merges_is_refused(family_folder, tmp_path):
    copy = shutil.copytree(family_folder("stable_diffusion_xl"), tmp_path / "model")
    path = copy / "tokenizer_2" / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["model"]["merges"][-3:]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=r"the tokenizer in .*tokenizer_2' is not whole: no merge makes 3 tokens"):
        check_model(ModelSettings(family="stable_diffusion_xl", base=str(copy), resolution=32))


@pytest.mark.parametrize(
    ("family", "name"),
    [
        *((family, "tokenizer") for family in FAMILIES.names),
        *((f"stable_diffusion{kind}", "tokenizer_2") for kind in ("_xl", "_3")),
        *((family, number) for family, number in (("stable_diffusion_3", "tokenizer_3"), ("flux", "tokenizer_2"))),
    ],
)
def test_a_tokenizer_that_was_saved_without_its_vocabulary_is_refused(family_folder, tmp_path, family, name):
    """As diffusers saves it whose own files were missing: it opens, and its encoder reads nothing of a prompt."""
    copy = shutil.copytree(family_folder(family), tmp_path / "model")
    path = copy / name / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        content["model"] |= {"vocab": {token: n for token, n in vocabulary.items() if token[0] == "<"}, "merges": []}
    else:
        content["model"]["vocab"] = [entry for entry in vocabulary if entry[0][0] == "<"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=f"the tokenizer in .*{name}' (is not whole|cannot be opened)"):
        check_model(ModelSettings(family=family, base=str(copy), resolution=32))


@pytest.mark.parametrize(
    ("family", "entries", "said"),
    [
        (
            "stable_diffusion_3",
            {"stochastic_sampling": True},
            "FlowMatchEuler.* with stochastic_sampling=True adds noise",
        ),
        ("stable_diffusion_3", {"shift": -1.0}, "shift is -1.0; it lies between 0 and 1000"),
        ("sana", {"flow_shift": 0.0}, "flow_shift is 0.0"),
        ("stable_diffusion_xl", {"clip_sample": True}, r"cuts latents to values between -1 and 1 \(clip_sample\)"),
    ],
)
def test_a_scheduler_that_makes_other_images_is_refused(family_folder, tmp_path, family, entries, said):
    base = edited(family_folder(family), tmp_path, SCHEDULER, entries)
    with pytest.raises(ModelError, match=said):
        check_model(ModelSettings(family=family, base=base, resolution=32))


FLOW_SDE = {"algorithm_type": "sde-dpmsolver++", "use_flow_sigmas": True, "prediction_type": "flow_prediction"}


@pytest.mark.parametrize(
    ("family", "scheduler", "entries", "repeats"),
    [
        ("stable_diffusion", "EulerAncestralDiscreteScheduler", {}, True),
        ("stable_diffusion", "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}, True),
        ("stable_diffusion_xl", "LCMScheduler", {"clip_sample": False}, True),
        ("sana", "DPMSolverMultistepScheduler", FLOW_SDE, True),
        ("sana", "FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}, True),
        ("stable_diffusion_3", "DPMSolverMultistepScheduler", FLOW_SDE, False),
        ("stable_diffusion_3", "FlowMatchLCMScheduler", {}, False),
        ("flux", "FlowMatchLCMScheduler", {"use_dynamic_shifting": False}, False),
    ],
)
def test_a_scheduler_is_refused_exactly_if_its_noise_is_not_of_the_images_seeds(
    family_folder, tmp_path, family, scheduler, entries, repeats
):
    """Stable Diffusion 3's and Flux's pipelines do not hand the seeds' generators on to their schedulers."""
    base = edited(family_folder(family), tmp_path, SCHEDULER, entries)
    index = json.loads(Path(base, INDEX).read_text(encoding="utf-8"))
    Path(base, INDEX).write_text(json.dumps(index | {"scheduler": ["diffusers", scheduler]}), encoding="utf-8")
    settings = ModelSettings(family=family, base=base, resolution=32)
    if not repeats:
        with pytest.raises(ModelError, match=f"its {scheduler}.* adds noise that the images' seeds do not make"):
            check_model(settings)
        return
    model, images = load_model(settings), []
    for chance in (0, 1):
        torch.manual_seed(chance)
        noise, generators = torch.ones(1, *model.latent_shape), [torch.Generator().manual_seed(0)]
        conditioning = model.conditioning(["a red circle"])
        images.append(model.generate(noise, conditioning, SamplerSettings(num_inference_steps=3), generators))
    assert torch.equal(*images)


class _OwnNoise(DDPMScheduler):
    """As DPMSolverSDEScheduler, whose library has noise of its own."""

    def step(self, model_output, timestep, sample, return_dict=True):
        return super().step(model_output, timestep, sample, return_dict=return_dict)


def test_a_scheduler_with_noise_of_its_own_is_refused(family_folder):
    folder, family = family_folder("stable_diffusion"), FAMILIES.load("stable_diffusion")
    components = family.components_of(folder, ModelSettings(base=str(folder))) | {"scheduler": _OwnNoise}
    with pytest.raises(ModelError, match="its _OwnNoise adds noise that the images' seeds do not make"):
        check_fit(folder, components, family.pipeline_class, "unet", flow=False, packed=1)


WIDTHS = {"stable_diffusion_3": ("text_encoder", "projection_dim"), "flux": ("text_encoder_2", "d_model")}


class _NoNumbers(DDPMScheduler):
    """As schedulers that divide zero by zero in a few steps; sampling itself refuses them."""

    def step(self, model_output, timestep, sample, return_dict=True):
        return (sample * torch.nan,)


def test_a_scheduler_that_gives_no_numbers_is_not_said_to_add_noise(family_folder):
    folder, family = family_folder("stable_diffusion"), FAMILIES.load("stable_diffusion")
    components = family.components_of(folder, ModelSettings(base=str(folder))) | {"scheduler": _NoNumbers}
    check_fit(folder, components, family.pipeline_class, "unet", flow=False, packed=1)


@pytest.mark.parametrize("family", FAMILIES.names)
def test_a_text_encoder_of_another_width_is_refused(family_folder, tmp_path, family):
    """As where the denoiser of another model was put into a folder."""
    copy = shutil.copytree(family_folder(family), tmp_path / "model")
    name, width = WIDTHS.get(family, ("text_encoder", "hidden_size"))
    kind = component_class(name, *check_components(copy)[name])
    config = kind.config_class.from_pretrained(copy / name)
    setattr(config, width, getattr(config, width) * 2)
    shutil.rmtree(copy / name)
    kind(config).save_pretrained(copy / name)
    with pytest.raises(ModelError, match="cannot read what the text encoders return"):
        load_model(ModelSettings(family=family, base=str(copy), resolution=32))


def test_an_entry_that_a_scheduler_does_not_read_is_no_fault(family_folder, tmp_path):
    copy = edited(
        family_folder("stable_diffusion_xl"), tmp_path, SCHEDULER, {"clip_sample": True, "thresholding": True}
    )
    index = Path(copy, INDEX)
    content = json.loads(index.read_text(encoding="utf-8")) | {"scheduler": ["diffusers", "EulerDiscreteScheduler"]}
    index.write_text(json.dumps(content), encoding="utf-8")
    check_model(ModelSettings(family="stable_diffusion_xl", base=copy, resolution=32))


def test_a_scheduler_without_enough_noise_levels_ends_in_one_line(family_folder, tmp_path):
    base = edited(family_folder("stable_diffusion_3"), tmp_path, SCHEDULER, {"num_train_timesteps": 1})
    model = load_model(ModelSettings(family="stable_diffusion_3", base=base, resolution=32))
    noise, sampler = torch.zeros(1, *model.latent_shape), SamplerSettings(num_inference_steps=2)
    with pytest.raises(ModelError, match=r"sampling fails in 2 steps .* as where a scheduler has too few noise levels"):
        model.generate(noise, model.conditioning(["a red circle"]), sampler, [torch.Generator()])


def test_a_scheduler_of_diffusion_is_refused_for_a_model_of_flow_matching(family_folder, tmp_path):
    base = edited(family_folder("stable_diffusion_3"), tmp_path, INDEX, {"scheduler": ["diffusers", "DDIMScheduler"]})
    with pytest.raises(ModelError, match="DDIMScheduler is no scheduler of flow matching"):
        check_model(ModelSettings(family="stable_diffusion_3", base=base))


@pytest.mark.parametrize(("prediction", "refused"), [("epsilon", True), ("v_prediction", False)])
def test_min_snr_is_refused_where_it_divides_zero_by_zero(family_folder, tmp_path, prediction, refused):
    entries = {"rescale_betas_zero_snr": True, "prediction_type": prediction}
    model = ModelSettings(base=edited(family_folder("stable_diffusion"), tmp_path, SCHEDULER, entries))
    check_loss(model, LossSettings())
    if not refused:
        return check_loss(model, LossSettings(min_snr_gamma=5.0))
    with pytest.raises(ModelError, match="divides zero by zero"):
        check_loss(model, LossSettings(min_snr_gamma=5.0))


@pytest.mark.parametrize("family", FAMILIES.names)
def test_sampling_and_training_follow_the_same_noise_schedule(family_folder, family):
    """Flow: the denoiser reads a fixed multiple of the noise level. Others: timesteps mean the same signal in both."""
    opened = load_model(ModelSettings(family=family, base=str(family_folder(family)), resolution=32))
    scheduler, noising, seen = opened.pipeline.scheduler, opened._noising, []
    if isinstance(noising, DDPMScheduler):
        assert torch.allclose(scheduler.alphas_cumprod, noising.alphas_cumprod)
        assert scheduler.config.prediction_type == noising.config.prediction_type
        return
    opened.denoiser.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["timestep"].flatten()[0].item()), with_kwargs=True
    )
    conditioning = opened.encode_prompts(["a red circle"])
    latents, generator = torch.zeros((1, *opened.latent_shape)), torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    noisy = []
    denoise = type(opened).denoise
    trained = lambda given, timesteps, of: noisy.append(given) or denoise(opened, given, timesteps, of)  # noqa: E731
    opened.denoise = lambda noisy, timesteps, conditioning: trained(noisy, timesteps, conditioning)
    opened.training_loss(latents, conditioning, generator, LossSettings())
    level = (noisy[0] / noise).mean().item()
    scale = seen.pop() / level
    sampler = SamplerSettings(num_inference_steps=4, guidance_scale=1.0, micro_batch_size=1)
    opened.generate(noise, conditioning, sampler, [generator])
    levels = scheduler.sigmas[: len(seen)].tolist()
    assert seen == pytest.approx([scale * level for level in levels], abs=scale / 1000)  # Sana's are whole numbers
