"""Define opened diffusion models: a diffusers pipeline with frozen weights and at most one LoRA adapter."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_type_hints

import torch
from diffusers import DDPMScheduler, DiffusionPipeline, SchedulerMixin, UNet2DConditionModel
from diffusers.training_utils import cast_training_params
from peft.utils import get_peft_model_state_dict
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.hub import downloaded
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.diffusion.bases import ModelError, model_source
from rsidiff_kedro.diffusion.conditioning import Conditioning
from rsidiff_kedro.diffusion.lora import add_lora, load_lora, restore_lora, round_lora, survives_rounding
from rsidiff_kedro.diffusion.losses import denoising_loss
from rsidiff_kedro.diffusion.model_fit import (
    check_conditioning,
    check_fit,
    check_tokenizers,
    check_tokens,
    check_vocabulary,
)
from rsidiff_kedro.diffusion.model_folder import check_components, check_files, component_class, left_out
from rsidiff_kedro.diffusion.model_weights import check_network
from rsidiff_kedro.diffusion.output_checks import check_finite, is_flat
from rsidiff_kedro.diffusion.prompt_tokenizer import PromptTokenizer
from rsidiff_kedro.diffusion.quantization import quantization_config
from rsidiff_kedro.diffusion.settings import LoraSettings, LossSettings, ModelSettings, SamplerSettings, find_device


class DiffusionModel(ABC):
    """Base class of families, which set its attributes and define `encode_prompts` and `denoise`.

    Attributes:
        pipeline_class: diffusers' class; its name identifies a saved pipeline of this family.
        components: that a saved pipeline of this family must have.
        denoiser_name: the pipeline's component that adapters change, of the class `denoiser_class`.
        lora_targets: regular expressions on the denoiser's module names, by `finetune.layers`.
        noising_class: the noise scheduler of training, made from the pipeline's own scheduler config.
        loss: of training, computed from `denoise`.
        has_snr: whether Min-SNR weighting is defined for the family's loss; flow matching has none.
        latents_per_token: pixels of latents that the denoiser reads as one; more than one if they are packed.
        negative_prompt: whether guidance contrasts a prompt with none; a guidance-distilled denoiser reads the scale.
        sampling_options: further arguments of the pipeline's call.
        tokenizer_name: the component that limits a prompt's length.
        max_tokens: that the pipeline reads of a prompt at most; None for as many as the tokenizer's own limit.
        large_text_encoders: components that `model.text_encoder_quantization` may load in fewer bits.
        Options: the family's own settings, the schema of `model.options`; `Section` itself has none.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]]
    components: ClassVar[frozenset[str]]
    denoiser_name: ClassVar[str] = "unet"
    denoiser_class: ClassVar[Any] = UNet2DConditionModel
    lora_targets: ClassVar[dict[str, str]]
    noising_class: ClassVar[Any] = DDPMScheduler
    loss: ClassVar[Callable[..., Tensor]] = staticmethod(denoising_loss)
    has_snr: ClassVar[bool] = True
    latents_per_token: ClassVar[int] = 1
    negative_prompt: ClassVar[bool] = True
    sampling_options: ClassVar[dict[str, Any]] = {}
    tokenizer_name: ClassVar[str] = "tokenizer"
    max_tokens: ClassVar[int | None] = None
    large_text_encoders: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type[Section]] = Section

    def __init__(self, pipeline: Any, settings: ModelSettings) -> None:
        self.base, self.revision = settings.base, settings.revision
        self.options = self.options_of(settings)
        self.resolution = settings.resolution
        self.device = pipeline.device
        self.dtype = getattr(torch, settings.dtype)
        self.pipeline = pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        for component in self.pipeline.components.values():
            if isinstance(component, nn.Module):
                component.requires_grad_(False).eval()
        self.tokenizer = PromptTokenizer(getattr(pipeline, self.tokenizer_name), self.max_tokens)
        self._noising = self.noising_class.from_config(self.pipeline.scheduler.config)
        self._no_prompt: Conditioning | None = None

    @classmethod
    def open(cls, settings: ModelSettings) -> Self:
        """Load a folder or a hub id, safetensors only; raise ModelError if files are broken or do not fit together."""
        problem = f"model.base: {settings.base!r} cannot be opened"
        source, options = model_source(settings.base), cls.loading_options(settings)
        load = partial(cls.pipeline_class.download, use_safetensors=True, trust_remote_code=False, **options)
        dtype = getattr(torch, settings.dtype)
        if quantized := quantization_config(settings.text_encoder_quantization, cls.quantizable(settings), dtype):
            options["quantization_config"] = quantized
        read = partial(cls.pipeline_class.from_pretrained, use_safetensors=True, trust_remote_code=False, **options)
        with loading(lambda error: ModelError(f"{problem} ({reason(error)}); save or download it again")):
            # Check a hub's files before a library follows what they say.
            folder = source
            if not Path(source).is_dir():
                folder = downloaded(load, source, settings.revision)
            cls.check_folder(Path(folder), settings)
            pipeline = read(folder, dtype=dtype, **left_out(Path(folder), cls.pipeline_class))
            model = cls(pipeline.to(find_device(settings.device)), settings)
            model.check()
        return model

    @classmethod
    def options_of(cls, settings: ModelSettings) -> Any:
        """Return `model.options` as the family's own settings; pydantic's ValidationError if they are wrong."""
        return cls.Options.model_validate(settings.options)

    @classmethod
    def loading_options(cls, settings: ModelSettings) -> dict[str, Any]:
        """Return further arguments of `from_pretrained`; None leaves a component out, which may then be missing."""
        known = inspect.signature(cls.pipeline_class.__init__).parameters
        return {name: None for name in ("feature_extractor", "image_encoder") if name in known}  # images as prompts

    @classmethod
    def other_tokenizers(cls, settings: ModelSettings) -> dict[str, int | None]:
        """Return the further tokenizers that may cut a prompt, each with what is read; None for its own limit."""
        return {}

    @classmethod
    def quantizable(cls, settings: ModelSettings) -> list[str]:
        """Return the large text encoders that are loaded."""
        options = cls.loading_options(settings)
        return [name for name in cls.large_text_encoders if options.get(name, name) is not None]

    @classmethod
    def components_of(cls, folder: Path, settings: ModelSettings) -> dict[str, type[Any]]:
        """Return the classes of the components that are loaded of a pipeline's folder, as its index names them.

        Raises:
            ModelError: a component is missing or of a class that the pipeline does not take, or see `check_components`.
        """
        options, taken = cls.loading_options(settings), get_type_hints(cls.pipeline_class.__init__)
        named = {name: of for name, of in check_components(folder).items() if options.get(name, name) is not None}
        lacking = ", ".join(sorted(cls.components - named.keys()))
        pipeline = cls.pipeline_class.__name__
        if lacking:
            raise ModelError(
                f"model.base: {str(folder)!r} names no {lacking} in model_index.json; a {pipeline} has them: save the "
                "pipeline again"
            )
        found = {name: component_class(name, *of) for name, of in named.items() if name in taken}
        for name, kind in found.items():
            wanted = tuple(each for each in (get_args(taken[name]) or (taken[name],)) if isinstance(each, type))
            if name == "scheduler":
                wanted = (SchedulerMixin,)  # any, whichever the pipeline names
            checked = any(issubclass(each, nn.Module | PreTrainedTokenizerBase | SchedulerMixin) for each in wanted)
            if checked and not issubclass(kind, wanted):
                names = " or ".join(each.__name__ for each in wanted)
                raise ModelError(
                    f"model.base: {str(folder)!r} names a {kind.__name__} as {name}; a {pipeline} takes a {names}: "
                    "give another model, or save it again"
                )
        return found

    @classmethod
    def check_folder(cls, folder: Path, settings: ModelSettings) -> None:
        """Raise ModelError unless a pipeline's folder holds all that is loaded of it, and each network its weights."""
        components = cls.components_of(folder, settings)
        check_files(folder, components)
        flow, packed = not cls.has_snr, cls.latents_per_token
        check_fit(folder, components, cls.pipeline_class, cls.denoiser_name, flow=flow, packed=packed)
        check_tokens(folder, components, {cls.tokenizer_name: cls.max_tokens})
        check_tokenizers(folder, components)
        for name, kind in sorted(components.items()):
            if issubclass(kind, nn.Module):
                check_network(folder / name, kind)

    @classmethod
    def empty_denoiser(cls, folder: Path) -> Any:
        """Build the denoiser that a pipeline's folder describes, without memory for its weights."""
        with torch.device("meta"):
            return cls.denoiser_class.from_config(cls.denoiser_class.load_config(folder / cls.denoiser_name))

    def check(self) -> None:
        """Raise ModelError if the opened model cannot be used."""
        size = self.trained_side(self.denoiser.config)
        if not isinstance(size, int):
            raise ModelError(f"model.base: the denoiser generates {size} latents; only square ones are supported")
        check_vocabulary(self.pipeline.components)
        self.tokenizer.check()
        check_conditioning(self)

    @classmethod
    def trained_side(cls, denoiser_config: Any) -> int:
        """Return the latents per side that the denoiser was trained for."""
        return denoiser_config.sample_size

    def pack(self, latents: Tensor) -> Tensor:
        """Bring latents [n, c, h, w] into the shape that the pipeline reads."""
        return latents

    def unpack(self, latents: Tensor, side: int) -> Tensor:
        """Bring what the pipeline returns back to latents [n, c, side, side]."""
        return latents

    @abstractmethod
    def encode_prompts(self, texts: list[str]) -> Conditioning:
        """Encode texts, padded and cut to the text encoders' length."""

    @abstractmethod
    def denoise(self, noisy: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the denoiser's prediction [n, c, h, w] for noisy latents [n, c, h, w] at timesteps [n]."""

    def training_loss(
        self, latents: Tensor, conditioning: Conditioning, generator: torch.Generator, settings: LossSettings
    ) -> Tensor:
        """Compute the loss of each sample, before its weight: [n]."""
        return self.loss(partial(self.denoise, conditioning=conditioning), self._noising, latents, generator, settings)

    def encode_no_prompt(self) -> Conditioning:
        """Encode the absence of a prompt, for one sample."""
        return self.encode_prompts([""])

    def conditioning(self, texts: list[str]) -> Conditioning:
        """Encode texts with `encode_prompts`; raise ModelError if the result is not finite."""
        encoded = self.encode_prompts(texts)
        check_finite(encoded.tensors.values(), f"prompt embeddings for {texts[0][:60]!r}")
        return encoded

    @property
    def no_prompt(self) -> Conditioning:
        """Return the result of `encode_no_prompt`, computed once; raise ModelError if it is not finite."""
        if self._no_prompt is None:
            self._no_prompt = self.encode_no_prompt()
            check_finite(self._no_prompt.tensors.values(), "prompt embeddings for no prompt")
        return self._no_prompt

    @property
    def denoiser(self) -> Any:
        """Return the network that adapters change."""
        return getattr(self.pipeline, self.denoiser_name)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of one sample's latents."""
        side = self.trained_side(self.denoiser.config)
        size = side if self.resolution is None else self.resolution // self.pipeline.vae_scale_factor
        return self.pipeline.vae.config.latent_channels, size, size

    @property
    def image_size(self) -> int:
        """Return the pixels per side of an image."""
        return int(self.latent_shape[1] * self.pipeline.vae_scale_factor)

    def load_adapter(self, adapter: Adapter, trainable: bool, dropout: float = 0.0) -> None:
        """Load an adapter, to train it or to generate with it; raise AdapterError if it belongs to another network.

        An adapter to generate with is fused into the weights, which is faster. In bfloat16 a small one would be rounded
        away; then it stays beside the weights. `dropout` is peft's lora_dropout, for training.
        """
        load_lora(self.denoiser, adapter, self.denoiser_name, dropout)
        narrow = self.dtype != torch.float32
        if narrow:
            restore_lora(self.denoiser, adapter, self.denoiser_name)
        if trainable:
            return
        if narrow and not survives_rounding(self.denoiser):
            round_lora(self.denoiser, self.dtype)
        else:
            self.pipeline.fuse_lora(components=[self.denoiser_name])
            self.pipeline.unload_lora_weights()

    def add_adapter(self, settings: LoraSettings) -> None:
        """Add a fresh trainable LoRA whose second factor is zero; raise AdapterError if it names no layers."""
        add_lora(self.denoiser, settings, self.lora_targets[settings.layers])
        if self.dtype != torch.float32:
            cast_training_params(self.denoiser, dtype=torch.float32)

    def remove_adapter(self) -> None:
        """Remove the adapter that was added or loaded for training."""
        self.denoiser.unload_lora()

    def export_adapter(self) -> dict[str, Tensor]:
        """Return the adapter's weights, float32, under the names that `load_lora_weights` reads."""
        state = get_peft_model_state_dict(self.denoiser, adapter_name="default")
        return {f"{self.denoiser_name}.{name}": value.detach().float().cpu().clone() for name, value in state.items()}

    def release_encoders(self) -> None:
        """Free text encoders and autoencoder; training reads cached conditioning and latents instead."""
        for name, component in self.pipeline.components.items():
            if isinstance(component, nn.Module) and name != self.denoiser_name:
                setattr(self.pipeline, name, None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.no_grad()
    def generate(
        self,
        noise: Tensor,
        conditioning: Conditioning,
        sampler: SamplerSettings,
        generators: list[torch.Generator],
        after_step: Callable[..., dict[str, Tensor]] | None = None,
    ) -> Tensor:
        """Denoise noise [n, channels, height, width] with the pipeline's own scheduler to latents of the same shape.

        `generators`, one per sample, made the noise; a scheduler that adds noise continues with them. `after_step` is
        the pipeline's `callback_on_step_end`.
        """
        inputs = dict(conditioning.tensors)
        if self.negative_prompt and sampler.guidance_scale > 1.0:
            negative = self.no_prompt.repeat(len(conditioning))
            inputs |= {f"negative_{name}": tensor for name, tensor in negative.tensors.items()}
        try:
            latents = self.pipeline(
                **inputs,
                **self.sampling_options,
                latents=self.pack(noise.to(self.device, self.dtype)),
                height=self.image_size,
                width=self.image_size,
                generator=generators,
                num_inference_steps=sampler.num_inference_steps,
                guidance_scale=sampler.guidance_scale,
                output_type="latent",
                callback_on_step_end=after_step,
            ).images
        except (IndexError, ZeroDivisionError) as error:
            raise ModelError(
                f"model.base: sampling fails in {sampler.num_inference_steps} steps ({error}), as where a scheduler "
                "has too few noise levels; correct its scheduler_config.json, or set another num_inference_steps"
            ) from error
        return self.unpack(latents, noise.shape[-1])

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Decode latents [n, channels, height, width] to RGB images; raise ModelError if pixels are not finite."""
        vae = self.pipeline.vae
        mean, factor = self._latent_scale()
        pixels = vae.decode(latents.to(self.device, vae.dtype) / factor + mean).sample
        check_finite([pixels], "pixels")
        return self.pipeline.image_processor.postprocess(pixels, output_type="pil")

    @torch.no_grad()
    def encode_images(self, images: list[Image.Image]) -> Tensor:
        """Encode RGB images of this model's resolution to latents in the scale that the denoiser sees: [n, c, h, w].

        Raises:
            ModelError: latents are not finite, or are flat although the images are not.
        """
        vae = self.pipeline.vae
        pixels = self.pipeline.image_processor.preprocess(images).to(self.device, vae.dtype)
        mean, factor = self._latent_scale()
        encoded = vae.encode(pixels)
        # Some autoencoders return a distribution, others latents.
        plain = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latent
        latents = (plain - mean) * factor
        check_finite([latents], "latents of real images")
        if is_flat(latents) and not is_flat(pixels):
            raise ModelError(
                "the autoencoder encodes images to latents without content; it is broken (model.base, vae)"
            )
        return latents

    def _latent_scale(self) -> tuple[Tensor | float, Tensor | float]:
        """Return the mean of the autoencoder's latents, and the factor from them to the denoiser's scale."""
        config = self.pipeline.vae.config
        mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is None or deviation is None:
            return getattr(config, "shift_factor", None) or 0.0, config.scaling_factor
        both = torch.tensor([mean, deviation], device=self.device, dtype=self.pipeline.vae.dtype)
        mean, deviation = both[:, None, :, None, None]
        return mean, config.scaling_factor / deviation
