"""Refuse base models that the method cannot sample or train as they were trained, from configs and in short trials."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from rsidiff_kedro.core.untrusted.loading import DAMAGE, loading, reason
from rsidiff_kedro.core.untrusted.network_weights import TRIED, tells_apart
from rsidiff_kedro.core.untrusted.tokenizers import describe_lost_merges, has_vocabulary, pointer_in
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.model_folder import check_pointer, config_of, read_object

PURPOSES = {9: "inpainting", 8: "editing images by instructions", 7: "upscaling", 5: "generating from depth"}
"""The use of a UNet that generates latents of four channels, by the channels that it reads."""
_MOST_LATENTS = 1024
"""Per side; 128 are usual for 1024 pixels."""
_LEAST_PIXELS = 32
"""Per side, as in model.resolution."""
_TRIED = 16
"""Latents per side with which a denoiser is tried."""
_POSITIONS = "max_position_embeddings"


class Configs(NamedTuple):
    """The configs of a pipeline's parts, with their classes' defaults."""

    denoiser: Mapping[str, Any]
    autoencoder: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    scheduler_class: str


def check_tokens(folder: Path, components: Iterable[str], most: Mapping[str, int | None]) -> None:
    """Raise ModelError if a tokenizer returns more tokens than its text encoder has positions for.

    Args:
        most: tokens that the pipeline reads at most, by tokenizer.
    """
    for name in sorted(each for each in components if each.startswith("tokenizer")):
        limits, network = folder / name / "tokenizer_config.json", name.replace("tokenizer", "text_encoder")
        config = folder / network / "config.json"
        if not limits.is_file() or not config.is_file():
            continue
        limit, positions = read_object(limits).get("model_max_length"), read_object(config).get(_POSITIONS)
        if not isinstance(limit, int | float) or not isinstance(positions, int):
            continue
        if min(limit, most.get(name) or limit) > positions:
            raise ModelError(
                f"model.base: {str(limits)!r} says model_max_length = {limit:g}, and {network} has positions for "
                f"{positions} tokens ({_POSITIONS}); put the smaller number into tokenizer_config.json"
            )


def check_tokenizers(folder: Path, components: Mapping[str, Any]) -> None:
    """Raise ModelError if a tokenizer cannot be opened, or lost its vocabulary or merges.

    Args:
        components: the class of each component.
    """
    for name, kind in components.items():
        if issubclass(kind, PreTrainedTokenizerBase):
            files = sorted((path.name, path.stat()) for path in (folder / name).iterdir() if path.is_file())
            stats = tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in files)
            _check_tokenizer((folder / name).absolute(), kind, stats)


@lru_cache(maxsize=16)
def _check_tokenizer(component: Path, kind: Any, files: tuple[Any, ...]) -> None:
    check_pointer(pointer_in(component) or component)
    problem = f"model.base: the tokenizer in {str(component)!r}"
    with loading(lambda error: ModelError(f"{problem} cannot be opened ({reason(error)}); save it again")):
        tokenizer = kind.from_pretrained(component, trust_remote_code=False)
        lost = describe_lost_merges(tokenizer) if has_vocabulary(tokenizer) else "its vocabulary is missing"
    if lost:
        raise ModelError(f"{problem} is not whole: {lost}; save or download it again")


def check_vocabulary(components: Mapping[str, Any]) -> None:
    """Raise ModelError if a tokenizer returns a token that its text encoder has no embedding for."""
    for name, tokenizer in components.items():
        encoder = components.get(name.replace("tokenizer", "text_encoder"))
        if not name.startswith("tokenizer") or tokenizer is None or encoder is None:
            continue
        word, number = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
        known = encoder.get_input_embeddings().num_embeddings
        if number >= known:
            raise ModelError(
                f"model.base: the {name} has the token {word!r}, number {number}, but its text encoder {known} alone; "
                "remove added tokens from the tokenizer, or save the text encoder that was trained with them"
            )


@torch.no_grad()
def check_conditioning(model: Any) -> None:
    """Raise ModelError if text encoders tell no prompts apart, or the denoiser cannot read what they return.

    Args:
        model: an opened `DiffusionModel`.
    """
    with _noted_calls(model.pipeline.components) as calls:
        read = model.conditioning([*TRIED])
    joined = all(tells_apart(each) for name, each in read.tensors.items() if "mask" not in name)
    for encoder, apart in {**calls, "text encoder": [joined]}.items():
        if not any(apart):  # of several calls, others may be for no prompt
            raise ModelError(
                f"model.base: the {encoder} returns the same embeddings for all prompts, or none that are finite; its "
                "weights or its tokenizer are broken, or eos_token_id in its config.json is not its tokenizer's: "
                "correct that, or save or download them again"
            )
    channels, *sides = model.latent_shape
    noisy = torch.zeros(len(read), channels, *(min(side, _TRIED) for side in sides)).to(model.device, model.dtype)
    try:
        model.denoise(noisy, torch.zeros(len(read), device=model.device), read)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelError(
            f"model.base: the {model.denoiser_name} cannot read what the text encoders return ({reason(error)}), as "
            "where they are of different models; put in those that it was trained with"
        ) from error


@contextmanager
def _noted_calls(components: Mapping[str, Any]) -> Iterator[dict[str, list[bool]]]:
    """Note of each call of each text encoder whether its own part of what pipelines join tells prompts apart."""
    calls: dict[str, list[bool]] = {}

    def note(network: Any, inputs: Any, output: Any, name: str) -> None:
        first, states = output[0], getattr(output, "hidden_states", None)
        read = [first]
        if states is not None:  # pipelines that ask for states read these, and embeddings of whole prompts
            read = [states[-2], first] if first.ndim == 2 else [states[-2]]
        calls.setdefault(name, []).append(all(map(tells_apart, read)))

    encoders = {name: each for name, each in components.items() if name.startswith("text_encoder") and each is not None}
    hooks = [each.register_forward_hook(partial(note, name=name)) for name, each in encoders.items()]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def check_fit(
    folder: Path, components: Mapping[str, type[Any]], pipeline: type[Any], denoiser: str, flow: bool, packed: int
) -> None:
    """Raise ModelError if the method cannot sample and train a pipeline as it was trained.

    Args:
        components: the class of each component.
        pipeline: its class.
        denoiser: the component that adapters change.
        flow: the family is trained by flow matching; otherwise it predicts noise or velocity.
        packed: pixels of latents that the denoiser reads as one.
    """
    parts = {name: config_of(folder, name, components[name]) for name in (denoiser, "vae", "scheduler")}
    read = inspect.signature(components["scheduler"].__init__).parameters  # a scheduler leaves entries of others unread
    scheduler = {name: value for name, value in parts["scheduler"].items() if name in read and name != "self"}
    configs = Configs(parts[denoiser], parts["vae"], scheduler, components["scheduler"].__name__)
    problem = (
        _misfit_of_latents(configs, packed)
        or _misfit_of_denoiser(configs)
        or _misfit_of_noise(configs, flow)
        or _misfit_of_schedule(configs.scheduler)
        or _misfit_of_sampling(configs.scheduler, is_xl="text_encoder_2" in components and not flow)
        or _misfit_of_chance(components["scheduler"], configs.scheduler, pipeline)
    )
    if problem is not None:
        raise ModelError(f"model.base: {str(folder)!r} does not fit: {problem} (docs/models.md)")


def _misfit_of_latents(configs: Configs, packed: int) -> str | None:
    read, made = configs.denoiser.get("in_channels"), configs.autoencoder.get("latent_channels")
    if read is None or made is None or read == made * packed:
        return None
    purpose = f", so it is made for {PURPOSES[read]}" if read in PURPOSES and made == 4 else ""
    return (
        f"its denoiser reads {read} channels and its autoencoder makes {made}{purpose}; give a model that generates "
        "from text alone"
    )


def _misfit_of_denoiser(configs: Configs) -> str | None:
    size = configs.denoiser.get("sample_size")
    if configs.denoiser.get("time_cond_proj_dim"):
        return (
            "its denoiser reads the guidance scale (time_cond_proj_dim), as distilled models do, and is not trained "
            "with it here; give the model that it was distilled from"
        )
    if isinstance(size, int) and not 1 <= size <= _MOST_LATENTS:
        return f"its denoiser generates {size} latents per side (sample_size); correct its config.json"
    blocks = configs.autoencoder.get("block_out_channels") or configs.autoencoder.get("encoder_block_out_channels")
    pixels = size * 2 ** (len(blocks) - 1) if isinstance(size, int) and blocks else _LEAST_PIXELS
    if pixels < _LEAST_PIXELS:
        return (
            f"its denoiser generates {size} latents per side (sample_size), {pixels} pixels, and {_LEAST_PIXELS} are "
            "the least; correct its config.json"
        )
    return None


def _misfit_of_noise(configs: Configs, flow: bool) -> str | None:
    """Compare the noise schedule that sampling follows with the one that training follows."""
    name, prediction = configs.scheduler_class, configs.scheduler.get("prediction_type", "epsilon")
    flows = "FlowMatch" in name or prediction == "flow_prediction" or bool(configs.scheduler.get("use_flow_sigmas"))
    if "EDM" in name:
        return f"its {name} samples from EDM's noise levels, on which nothing is trained here; give another model"
    if flow and not flows:
        return f"its {name} is no scheduler of flow matching, for which the family is trained; save it with its own"
    if not flow and flows:
        return f"its {name} is a scheduler of flow matching, and the family is not trained so; save it with its own"
    if not flow and prediction not in ("epsilon", "v_prediction"):
        return f"it predicts {prediction!r}; only epsilon and v_prediction can be fine-tuned"
    return None


def _misfit_of_schedule(scheduler: Mapping[str, Any]) -> str | None:
    """Say which entry of a scheduler gives noise levels that no model is trained for; diffusers follows all of them."""
    spacing, steps = scheduler.get("timestep_spacing", _SPACINGS[0]), scheduler.get("num_train_timesteps")
    betas = scheduler.get("trained_betas")
    start, end = scheduler.get("beta_start", 0.1), scheduler.get("beta_end", 0.1)
    if spacing not in _SPACINGS:
        return f"its scheduler's timestep_spacing is {str(spacing)[:40]!r}; one of {', '.join(_SPACINGS)} is right"
    if betas is not None and not (isinstance(betas, list) and len(betas) == steps and all(map(_is_beta, betas))):
        return f"its scheduler's trained_betas are not {steps} numbers between 0 and 1 (num_train_timesteps)"
    if betas is None and not (_is_beta(start) and _is_beta(end) and start <= end):
        return (
            f"its scheduler's noise goes from beta_start = {repr(start)[:40]} to beta_end = {repr(end)[:40]}; both lie "
            "between 0 and 1, and it grows"
        )
    if scheduler.get("thresholding"):
        return "its scheduler cuts latents to values between -1 and 1 (thresholding), which is made for pixels"
    return None


def _misfit_of_sampling(scheduler: Mapping[str, Any], is_xl: bool) -> str | None:
    """Say which entry of a scheduler makes images that no model is trained for."""
    if is_xl and scheduler.get("clip_sample"):  # diffusers corrects it for Stable Diffusion 1.x
        return "its scheduler cuts latents to values between -1 and 1 (clip_sample), as for pixels; set it to false"
    for name in ("shift", "flow_shift"):
        shift = scheduler.get(name)
        if shift is not None and not (isinstance(shift, int | float) and 0 < shift <= _MOST_SHIFT):
            return (
                f"its scheduler's {name} is {str(shift)[:40]}; it lies between 0 and {_MOST_SHIFT}, usually at 1 to 12"
            )
    return None


def _misfit_of_chance(kind: type[Any], config: Mapping[str, Any], pipeline: type[Any]) -> str | None:
    """Say whether a scheduler adds noise that the images' seeds do not make, by a short trial.

    Some schedulers have their own source of noise, and some pipelines do not hand the seeds' generators on. Other
    checks refuse what cannot be tried.
    """
    takes = hasattr(pipeline, _GIVES_GENERATORS) and "generator" in inspect.signature(kind.step).parameters
    samples = []
    with suppress(*DAMAGE):
        for chance in (0, 1):
            scheduler = kind.from_config(dict(config))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(chance)
                given = {"generator": [torch.Generator().manual_seed(0)]} if takes else {}
                samples.append(_try_to_sample(scheduler, given))
        if not torch.allclose(*samples, rtol=0.0, atol=0.0, equal_nan=True):
            which = next((f"{name}={config[name]}" for name in _NOISY if config.get(name)), "")
            return (
                f"its {kind.__name__}{which and f' with {which}'} adds noise that the images' seeds do not make, so no "
                "run could repeat an image; save the model with another scheduler, or with this one without noise"
            )
    return None


def _try_to_sample(scheduler: Any, given: Mapping[str, Any]) -> torch.Tensor:
    """Return what a few steps make of a sample of ones, where a network always predicts the same."""
    shift = {"mu": 1.0} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(min(4, scheduler.config.num_train_timesteps), **shift)
    sample = torch.ones(1, 4, 8, 8)
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(sample, timestep)
        sample = scheduler.step(torch.full_like(sample, 0.1), timestep, sample, **given, return_dict=False)[0]
    return sample


_GIVES_GENERATORS = "prepare_extra_step_kwargs"
"""The method of pipelines that hand generators on to a scheduler that takes them."""
_NOISY = ("stochastic_sampling", "algorithm_type")
"""Entries that make a scheduler add noise."""
_MOST_SHIFT = 1000
_SPACINGS = ("leading", "trailing", "linspace")


def _is_beta(value: Any) -> bool:
    return isinstance(value, int | float) and 0 < value < 1


def has_undefined_snr(scheduler: Mapping[str, Any]) -> bool:
    """Tell whether Min-SNR divides zero by zero: epsilon-prediction with no signal at the last timestep."""
    return bool(scheduler.get("rescale_betas_zero_snr")) and scheduler.get("prediction_type", "epsilon") == "epsilon"
