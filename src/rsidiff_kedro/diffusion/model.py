"""An opened diffusion model: a diffusers pipeline with frozen weights and at most one LoRA adapter."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from PIL import Image
from pydantic import Field
from torch import Tensor, nn

from rsidiff_kedro.core.adapter import Adapter, AdapterError
from rsidiff_kedro.core.devices import usable_devices
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.diffusion.conditioning import Conditioning
from rsidiff_kedro.diffusion.losses import LossSettings
from rsidiff_kedro.diffusion.model_folder import ModelError, check_components, model_source
from rsidiff_kedro.diffusion.prompt_tokenizer import PromptTokenizer


class ModelSettings(Section):
    """Which base model is improved, and where it computes.

    Attributes:
        family: a registered name, or `package.module:Class` of your own (docs/models.md).
        base: "scenes" for the shipped model, a folder that `save_pretrained` wrote, or a Hugging Face id.
        revision: branch, tag or commit of a Hugging Face id.
        resolution: pixels per side; None for what the model was trained for.
        options: settings of this family alone, such as `{t5: false}` of Stable Diffusion 3.
        device: "auto" takes a GPU if there is one.
        dtype: of the weights; adapters are trained and stored in float32 either way.
    """

    family: str = "stable_diffusion"
    base: str = Field(min_length=1)
    revision: str | None = None
    resolution: int | None = Field(default=None, ge=32, le=4096, multiple_of=16)
    options: dict[str, Any] = Field(default={})
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"


class SamplerSettings(Section):
    """How images are generated.

    Attributes:
        num_inference_steps: denoising steps per image.
        guidance_scale: of classifier-free guidance; 1 is none.
        micro_batch_size: images computed at once; pixels may differ by 1/255 between sizes.
    """

    num_inference_steps: int = Field(8, ge=1, le=1000)
    guidance_scale: float = Field(2.0, ge=1.0, le=50.0)
    micro_batch_size: int = Field(32, ge=1, le=1024)


class NoOptions(Section):
    """A family without settings of its own."""


class DiffusionModel(ABC):
    """Base class of the model families; a family sets the class attributes and two methods.

    Attributes:
        pipeline_class: diffusers' class, by whose name a saved pipeline is recognised.
        components: what a saved pipeline of this family must have.
        denoiser_name: the pipeline's component that adapters change, of the class `denoiser_class`.
        lora_targets: regular expressions on the denoiser's module names, by `finetune.layers`.
        noising_class: the noise scheduler of training, made from the pipeline's own scheduler config.
        has_snr: whether Min-SNR weighting is defined for the family's loss.
        Options: the family's own settings, the schema of `model.options`.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]]
    components: ClassVar[frozenset[str]]
    denoiser_name: ClassVar[str] = "unet"
    denoiser_class: ClassVar[type[nn.Module]] = UNet2DConditionModel
    lora_targets: ClassVar[dict[str, str]]
    noising_class: ClassVar[Any] = DDPMScheduler
    has_snr: ClassVar[bool] = True
    Options: ClassVar[type[Section]] = NoOptions

    def __init__(self, pipeline: Any, settings: ModelSettings) -> None:
        self.name = settings.base
        self.revision = None if Path(model_source(settings.base)).is_dir() else settings.revision
        self.resolution = settings.resolution
        self.device = pipeline.device
        self.dtype = getattr(torch, settings.dtype)
        self.pipeline = pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        for component in self.pipeline.components.values():
            if isinstance(component, nn.Module):
                component.requires_grad_(False).eval()
        self.tokenizer = PromptTokenizer(self.pipeline.tokenizer)
        self._noising = self.noising_class.from_config(self.pipeline.scheduler.config)
        self._no_prompt: Conditioning | None = None

    @classmethod
    def open(cls, settings: ModelSettings) -> Self:
        """Load a folder or a hub id; safetensors only.

        Raises:
            ModelError: a config, a tokenizer or weights are broken, or do not fit each other.
        """

        def refuse(error: Exception) -> ModelError:
            return ModelError(
                f"model.base: {settings.base!r} cannot be opened ({reason(error)}); save or download it again"
            )

        source, options = model_source(settings.base), cls.loading_options(settings)
        with loading(refuse):
            # Check a hub's files before a library follows what they say.
            folder = source if Path(source).is_dir() else cls._download(source, settings)
            check_components(Path(folder))
            pipeline = cls.pipeline_class.from_pretrained(
                folder, dtype=getattr(torch, settings.dtype), use_safetensors=True, trust_remote_code=False, **options
            )
            model = cls(pipeline.to(find_device(settings.device)), settings)
        model.check()
        return model

    @classmethod
    def _download(cls, source: str, settings: ModelSettings) -> str:
        """Download a hub's files and return their folder on this machine."""
        folder: str = cls.pipeline_class.download(
            source,
            revision=settings.revision,
            use_safetensors=True,
            trust_remote_code=False,
            **cls.loading_options(settings),
        )
        return folder

    @classmethod
    def options_of(cls, settings: ModelSettings) -> Any:
        """Return `model.options` as the family's own settings; pydantic's ValidationError if they are wrong."""
        return cls.Options.model_validate(settings.options)

    @classmethod
    def loading_options(cls, settings: ModelSettings) -> dict[str, Any]:
        """Return further arguments of `from_pretrained`; None leaves a component out, which may then be missing."""
        return {"feature_extractor": None, "image_encoder": None}  # they read images as prompts

    def check(self) -> None:
        """Raise ModelError if the opened model cannot be worked with."""
        size = self.denoiser.config.sample_size
        if not isinstance(size, int):
            raise ModelError(f"model.base: the denoiser generates {size} latents; only square ones are supported")
        self.tokenizer.check()

    @abstractmethod
    def encode_prompts(self, texts: list[str]) -> Conditioning:
        """Encode texts, padded and cut to the text encoders' length."""

    @abstractmethod
    def training_loss(
        self, latents: Tensor, conditioning: Conditioning, generator: torch.Generator, settings: LossSettings
    ) -> Tensor:
        """Compute the loss of each sample, before its weight: [n]."""

    def encode_no_prompt(self) -> Conditioning:
        """Encode the absence of a prompt, for one sample."""
        return self.encode_prompts([""])

    @property
    def denoiser(self) -> nn.Module:
        """Return the network that adapters change."""
        network: nn.Module = getattr(self.pipeline, self.denoiser_name)
        return network

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of one sample's latents."""
        config = self.denoiser.config
        size = config.sample_size if self.resolution is None else self.resolution // self.pipeline.vae_scale_factor
        return config.in_channels, size, size

    @property
    def image_size(self) -> int:
        """Return the pixels per side of an image."""
        return int(self.latent_shape[1] * self.pipeline.vae_scale_factor)

    def load_adapter(self, adapter: Adapter, trainable: bool) -> None:
        """Load an adapter, to train it or to generate with it.

        For generating in float32 it is fused into the weights, which is faster. bfloat16 would round most of it
        away, so there it stays beside the weights.

        Raises:
            AdapterError: it was trained on another network.
        """
        _check_fit(adapter, self.denoiser, self.denoiser_name)
        # Copy: peft takes tensors over without copying, so training would change the adapter that was given.
        weights = {name: value.clone() for name, value in adapter.weights.items()}
        # Load into the denoiser alone: the pipeline's own method warns about text encoders without an adapter.
        self.denoiser.load_lora_adapter(weights, prefix=self.denoiser_name, adapter_name="default")
        if trainable:
            for name, parameter in self.denoiser.named_parameters():
                parameter.requires_grad_("lora_" in name)
            if self.dtype != torch.float32:
                # Loading rounded them to the denoiser's dtype; restore the exact values.
                cast_training_params(self.denoiser, dtype=torch.float32)
                set_peft_model_state_dict(self.denoiser, self._unprefixed(adapter), adapter_name="default")
        elif self.dtype == torch.float32:
            self.pipeline.fuse_lora(components=[self.denoiser_name])
            self.pipeline.unload_lora_weights()

    def _unprefixed(self, adapter: Adapter) -> dict[str, Tensor]:
        return {name.removeprefix(f"{self.denoiser_name}."): value.clone() for name, value in adapter.weights.items()}

    def add_adapter(self, rank: int, layers: str) -> None:
        """Add a fresh trainable LoRA whose second factor is zero."""
        targets = self.lora_targets[layers]
        config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets)
        self.denoiser.add_adapter(config, adapter_name="default")
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
        self, noise: Tensor, conditioning: Conditioning, sampler: SamplerSettings, generators: list[torch.Generator]
    ) -> Tensor:
        """Denoise noise [n, channels, height, width] with the pipeline's own scheduler to latents of the same shape.

        Args:
            generators: one per sample, those that made its noise; a scheduler that adds noise continues with them.
        """
        result: Tensor = self.pipeline(
            **self._pipeline_inputs(conditioning, sampler.guidance_scale),
            latents=noise.to(self.device, self.dtype),
            height=self.image_size,
            width=self.image_size,
            generator=generators,
            num_inference_steps=sampler.num_inference_steps,
            guidance_scale=sampler.guidance_scale,
            output_type="latent",
        ).images
        return result

    def _pipeline_inputs(self, conditioning: Conditioning, guidance_scale: float) -> dict[str, Tensor]:
        """Return the pipeline's arguments: the conditioning, and with guidance the negative one."""
        inputs = dict(conditioning.tensors)
        if guidance_scale > 1.0:
            self._no_prompt = self._no_prompt or self.encode_no_prompt()
            negative = self._no_prompt.repeat(len(conditioning))
            inputs |= {f"negative_{name}": tensor for name, tensor in negative.tensors.items()}
        return inputs

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Decode latents [n, channels, height, width] to RGB images."""
        vae = self.pipeline.vae
        mean, factor = self._latent_scale()
        unscaled = latents.to(self.device, vae.dtype) / factor
        if mean is not None:
            unscaled = unscaled + mean
        images: list[Image.Image] = self.pipeline.image_processor.postprocess(
            vae.decode(unscaled).sample, output_type="pil"
        )
        return images

    @torch.no_grad()
    def encode_images(self, images: list[Image.Image]) -> Tensor:
        """Encode RGB images of this model's resolution to latents in the scale that the denoiser sees: [n, c, h, w]."""
        vae = self.pipeline.vae
        pixels = self.pipeline.image_processor.preprocess(images).to(self.device, vae.dtype)
        latents: Tensor = vae.encode(pixels).latent_dist.mode()
        mean, factor = self._latent_scale()
        return (latents if mean is None else latents - mean) * factor

    def _latent_scale(self) -> tuple[Tensor | float | None, Tensor | float]:
        """Return the mean of the autoencoder's latents, and the factor from them to what the denoiser sees."""
        config = self.pipeline.vae.config
        mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is None or deviation is None:
            return getattr(config, "shift_factor", None) or None, config.scaling_factor
        both = torch.tensor([mean, deviation], device=self.device, dtype=self.pipeline.vae.dtype)
        mean, deviation = both[:, None, :, None, None]
        return mean, config.scaling_factor / deviation


def _check_fit(adapter: Adapter, network: nn.Module, network_name: str) -> None:
    """Raise AdapterError unless each weight belongs to a layer of the network, of its width."""
    sizes = {name: weight.shape for name, weight in network.named_parameters()}
    for name, tensor in adapter.weights.items():
        layer, _, factor = name.removeprefix(f"{network_name}.").partition(".lora_")
        size = sizes.get(f"{layer}.weight")
        # The first factor has the layer's input width, the second its output width.
        side = 1 if factor.startswith("A") else 0
        if size is None or tensor.ndim < 2 or tensor.shape[side] != size[side]:
            layer_size = "does not exist" if size is None else f"has {list(size)}"
            raise AdapterError(
                f"the adapter of round {adapter.info.get('round')} does not fit the model: {name} has the shape "
                f"{list(tensor.shape)}, its layer {layer_size}; use the model that it was trained on "
                f"({adapter.info.get('base_model')}), or run all rounds anew"
            )


def find_device(name: str) -> torch.device:
    """Return the device that `model.device` means; "auto" is a GPU if there is one.

    Raises:
        ModelError: this machine, or this build of torch, has no such device.
    """
    usable = usable_devices()
    if name not in ("auto", *usable):
        raise ModelError(f"model.device is {name!r}, but torch {torch.__version__} has only {', '.join(usable)} here")
    return torch.device(usable[0] if name == "auto" else name)
