"""What the families share: a pipeline of diffusers with frozen weights and at most one LoRA adapter."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import DDPMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from PIL import Image
from torch import Tensor, nn

from rsidiff_kedro.devices import usable_devices
from rsidiff_kedro.diffusion.adapters import Adapter, check_fit
from rsidiff_kedro.diffusion.backbones.folders import ModelError, check_components, model_source
from rsidiff_kedro.diffusion.embeddings import TextEmbeddings
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.untrusted.loading import loading, reason

MANY_TOKENS = 100_000
"""A tokenizer that was saved without its limit says 10^30."""


class PipelineBackbone(ABC):
    """A family defines the class attributes and the two abstract methods.

    Attributes:
        pipeline_class: diffusers' class, by whose name a saved pipeline is recognised.
        components: what a saved pipeline of this family must have.
        denoiser_name: the pipeline's component that adapters change, of the class `denoiser_class`.
        lora_targets: regular expressions on the denoiser's module names, by `finetune.layers`.
        noising_class: the scheduler that training takes its noise levels from, made of the pipeline's own config.
        has_snr: whether Min-SNR weighting is defined for its loss.
    """

    pipeline_class: ClassVar[type[DiffusionPipeline]]
    components: ClassVar[frozenset[str]]
    denoiser_name: ClassVar[str] = "unet"
    denoiser_class: ClassVar[type[nn.Module]] = UNet2DConditionModel
    lora_targets: ClassVar[dict[str, str]]
    noising_class: ClassVar[Any] = DDPMScheduler
    has_snr: ClassVar[bool] = True

    def __init__(self, pipeline: Any, model: ModelSettings) -> None:
        self.name = model.base
        self.revision = None if Path(model_source(model.base)).is_dir() else model.revision
        self.resolution = model.resolution
        self.device = pipeline.device
        self.dtype = getattr(torch, model.dtype)
        self.pipeline = pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        for component in self.pipeline.components.values():
            if isinstance(component, nn.Module):
                component.requires_grad_(False).eval()
        self.max_tokens = int(self.pipeline.tokenizer.model_max_length)
        self._noising = self.noising_class.from_config(self.pipeline.scheduler.config)
        self._no_prompt: TextEmbeddings | None = None

    @classmethod
    def open(cls, source: str, model: ModelSettings) -> Self:
        """Load a folder or a hub id; safetensors only.

        Raises:
            ModelError: a config, a tokenizer or weights are broken, or do not fit each other.
        """

        def refuse(error: Exception) -> ModelError:
            return ModelError(
                f"model.base: {model.base!r} cannot be opened ({reason(error)}); save or download it again"
            )

        with loading(refuse):
            # A hub's files are looked at before a library follows what they say.
            folder = source if Path(source).is_dir() else cls._download(source, model)
            check_components(Path(folder))
            pipeline = cls.pipeline_class.from_pretrained(
                folder,
                dtype=getattr(torch, model.dtype),
                use_safetensors=True,
                trust_remote_code=False,
                **cls.loading_options(model),
            )
            backbone = cls(pipeline.to(find_device(model.device)), model)
        backbone.check()
        return backbone

    @classmethod
    def _download(cls, source: str, model: ModelSettings) -> str:
        """Where the hub's files lie on this machine, once they are there."""
        options = cls.loading_options(model)
        folder: str = cls.pipeline_class.download(
            source, revision=model.revision, use_safetensors=True, trust_remote_code=False, **options
        )
        return folder

    def check(self) -> None:
        """Raise ModelError if what was opened cannot be worked with."""
        size = self.denoiser.config.sample_size
        if not isinstance(size, int):
            raise ModelError(f"model.base: the denoiser draws {size} latents; only square ones are supported")
        if not 2 < self.max_tokens < MANY_TOKENS:
            raise ModelError(
                f"model.base: the tokenizer reads {self.max_tokens} tokens (model_max_length); a text encoder reads "
                "some hundreds at most: put the right number into tokenizer_config.json"
            )
        if len(self.pipeline.tokenizer) < 3 or self.count_tokens(["a"]) == self.count_tokens(["a cat on a chair"]):
            raise ModelError("model.base: the tokenizer tells no texts apart; its vocabulary is missing: save it again")

    @classmethod
    def loading_options(cls, model: ModelSettings) -> dict[str, Any]:
        """Further arguments of `from_pretrained`; None leaves a component out, and it may then be missing."""
        return {"feature_extractor": None, "image_encoder": None}  # of images as prompts

    @abstractmethod
    def encode_prompts(self, texts: list[str]) -> TextEmbeddings:
        """Embeddings of the texts, padded and cut to the text encoders' length."""

    @abstractmethod
    def training_loss(
        self, latents: Tensor, embeddings: TextEmbeddings, generator: torch.Generator, settings: FinetuneSettings
    ) -> Tensor:
        """The loss of each sample, before its weight: [n]."""

    def encode_no_prompt(self) -> TextEmbeddings:
        """What stands in a prompt's place, without a condition: of one sample."""
        return self.encode_prompts([""])

    @property
    def denoiser(self) -> nn.Module:
        """The network that adapters change."""
        network: nn.Module = getattr(self.pipeline, self.denoiser_name)
        return network

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one sample's latents."""
        config = self.denoiser.config
        size = config.sample_size if self.resolution is None else self.resolution // self.pipeline.vae_scale_factor
        return config.in_channels, size, size

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text, the start and end tokens included, not cut."""
        return [len(ids) for ids in self.pipeline.tokenizer(texts, truncation=False, verbose=False).input_ids]

    def load_adapter(self, adapter: Adapter, trainable: bool) -> None:
        """Put an adapter in: trainable beside the weights, or else for sampling.

        For sampling in float32 it is folded into the weights, which is faster. Narrower types would round most of it
        away: there it stays beside them.

        Raises:
            AdapterError: it was trained on another network.
        """
        check_fit(adapter, self.denoiser, self.denoiser_name)
        # Copies, as peft takes tensors over without copying and training would change the adapter that was given.
        weights = {name: value.clone() for name, value in adapter.weights.items()}
        # Into the denoiser alone: the pipeline's own method warns of a text encoder that has none.
        self.denoiser.load_lora_adapter(weights, prefix=self.denoiser_name, adapter_name="default")
        if trainable:
            for name, parameter in self.denoiser.named_parameters():
                parameter.requires_grad_("lora_" in name)
            if self.dtype != torch.float32:
                # Loading rounded them to the denoiser's type; training goes on from their exact values.
                cast_training_params(self.denoiser, dtype=torch.float32)
                set_peft_model_state_dict(self.denoiser, self._unprefixed(adapter), adapter_name="default")
        elif self.dtype == torch.float32:
            self.pipeline.fuse_lora(components=[self.denoiser_name])
            self.pipeline.unload_lora_weights()

    def _unprefixed(self, adapter: Adapter) -> dict[str, Tensor]:
        return {name.removeprefix(f"{self.denoiser_name}."): value.clone() for name, value in adapter.weights.items()}

    def add_adapter(self, rank: int, layers: str) -> None:
        """Put a fresh trainable LoRA in whose second factor is zero."""
        targets = self.lora_targets[layers]
        config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=targets)
        self.denoiser.add_adapter(config, adapter_name="default")
        if self.dtype != torch.float32:
            cast_training_params(self.denoiser, dtype=torch.float32)

    def export_adapter(self) -> dict[str, Tensor]:
        """The adapter's weights, float32, under the names that `load_lora_weights` reads."""
        state = get_peft_model_state_dict(self.denoiser, adapter_name="default")
        return {f"{self.denoiser_name}.{name}": value.detach().float().cpu().clone() for name, value in state.items()}

    def release_encoders(self) -> None:
        """Free text encoders and autoencoder, which fine-tuning from cached embeddings and latents does without."""
        for name, component in self.pipeline.components.items():
            if isinstance(component, nn.Module) and name != self.denoiser_name:
                setattr(self.pipeline, name, None)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.no_grad()
    def generate(
        self, noise: Tensor, embeddings: TextEmbeddings, sampler: SamplerSettings, generators: list[torch.Generator]
    ) -> Tensor:
        """Denoise noise [n, channels, height, width] with the pipeline's own scheduler to latents of the same shape.

        Args:
            generators: a sample each, those that drew its noise: a scheduler that adds noise goes on with them.
        """
        size = self.latent_shape[1] * self.pipeline.vae_scale_factor
        result: Tensor = self.pipeline(
            **self._conditions(embeddings, sampler.guidance_scale),
            latents=noise.to(self.device, self.dtype),
            height=size,
            width=size,
            generator=generators,
            num_inference_steps=sampler.num_inference_steps,
            guidance_scale=sampler.guidance_scale,
            output_type="latent",
        ).images
        return result

    def _conditions(self, embeddings: TextEmbeddings, guidance_scale: float) -> dict[str, Tensor]:
        given = {"": embeddings}
        if guidance_scale > 1.0:
            self._no_prompt = self._no_prompt or self.encode_no_prompt()
            given["negative_"] = self._no_prompt.repeat(len(embeddings))
        conditions = {f"{sign}prompt_embeds": each.states for sign, each in given.items()}
        pooled = {f"{sign}pooled_prompt_embeds": each.pooled for sign, each in given.items() if each.pooled is not None}
        return {**conditions, **pooled}

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents [n, channels, height, width] to RGB images."""
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
        """RGB images of this model's resolution to latents in the scale that the denoiser sees: [n, c, h, w]."""
        vae = self.pipeline.vae
        pixels = self.pipeline.image_processor.preprocess(images).to(self.device, vae.dtype)
        latents: Tensor = vae.encode(pixels).latent_dist.mode()
        mean, factor = self._latent_scale()
        return (latents if mean is None else latents - mean) * factor

    def _latent_scale(self) -> tuple[Tensor | float | None, Tensor | float]:
        """Mean of the autoencoder's latents, and the factor that makes them what the denoiser sees."""
        config = self.pipeline.vae.config
        mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is None or deviation is None:
            return getattr(config, "shift_factor", None) or None, config.scaling_factor
        both = torch.tensor([mean, deviation], device=self.device, dtype=self.pipeline.vae.dtype)
        mean, deviation = both[:, None, :, None, None]
        return mean, config.scaling_factor / deviation


def find_device(name: str) -> torch.device:
    """The device that `model.device` means; "auto" is a GPU if there is one.

    Raises:
        ModelError: this machine, or this build of torch, has no such device.
    """
    usable = usable_devices()
    if name not in ("auto", *usable):
        raise ModelError(f"model.device is {name!r}, but torch {torch.__version__} has only {', '.join(usable)} here")
    return torch.device(usable[0] if name == "auto" else name)
