"""Stable Diffusion 1.x: UNet, one CLIP text encoder, epsilon- or v-prediction, the pipeline's own scheduler."""

from typing import Any

import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from diffusers.training_utils import compute_snr
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from torch import Tensor, nn

from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings

_ATTENTION = r"to_q|to_k|to_v|to_out\.0"
_REST = r"proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2|conv_shortcut"
LORA_TARGETS = {"attention": rf".*\.({_ATTENTION})", "all": rf".*\.({_ATTENTION}|{_REST})"}
"""Regular expressions on module names, by `finetune.layers`."""


class StableDiffusionBackbone:
    """A `StableDiffusionPipeline` with frozen weights and at most one adapter."""

    def __init__(self, pipeline: StableDiffusionPipeline, name: str) -> None:
        self.name = name
        self.device = pipeline.device
        self.pipeline = pipeline
        self.pipeline.set_progress_bar_config(disable=True)
        for network in (self.pipeline.unet, self.pipeline.vae, self.pipeline.text_encoder):
            network.requires_grad_(False).eval()
        self.max_tokens = int(self.pipeline.tokenizer.model_max_length)
        self._noising = DDPMScheduler.from_config(self.pipeline.scheduler.config)

    @classmethod
    def open(cls, source: str, model: ModelSettings) -> "StableDiffusionBackbone":
        """Load a folder or a hub id; safetensors only."""
        pipeline = StableDiffusionPipeline.from_pretrained(
            source,
            revision=model.revision,
            dtype=getattr(torch, model.dtype),
            use_safetensors=True,
            safety_checker=None,
            requires_safety_checker=False,
        )
        return cls(pipeline.to(_device(model.device)), model.base)

    @property
    def denoiser(self) -> nn.Module:
        """The UNet."""
        return self.pipeline.unet

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one sample's latents."""
        config = self.pipeline.unet.config
        return config.in_channels, config.sample_size, config.sample_size

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each text, the start and end tokens included, not cut."""
        return [len(ids) for ids in self.pipeline.tokenizer(texts, truncation=False, verbose=False).input_ids]

    @torch.no_grad()
    def encode_prompts(self, texts: list[str]) -> Tensor:
        """Text embeddings [n, tokens, width], padded and cut to the text encoder's length."""
        tokens = self.pipeline.tokenizer(
            texts, padding="max_length", max_length=self.max_tokens, truncation=True, return_tensors="pt"
        ).input_ids
        states: Tensor = self.pipeline.text_encoder(tokens.to(self.device)).last_hidden_state
        return states

    def load_adapter(self, adapter: Adapter, trainable: bool) -> None:
        """Put an adapter in: trainable beside the weights, or else folded into them, which samples faster."""
        # Copies, as peft takes tensors over without copying and training would change the adapter that was given.
        weights = {name: value.clone() for name, value in adapter.weights.items()}
        # Into the UNet alone: the pipeline's own method warns of a text encoder that has none.
        self.pipeline.unet.load_lora_adapter(weights, prefix="unet", adapter_name="default")
        if trainable:
            for name, parameter in self.pipeline.unet.named_parameters():
                parameter.requires_grad_("lora_" in name)
        else:
            self.pipeline.fuse_lora(components=["unet"])
            self.pipeline.unload_lora_weights()

    def add_adapter(self, rank: int, layers: str) -> None:
        """Put a fresh trainable LoRA in whose second factor is zero."""
        config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=LORA_TARGETS[layers])
        self.pipeline.unet.add_adapter(config, adapter_name="default")

    def export_adapter(self) -> dict[str, Tensor]:
        """The adapter's weights, float32, under the names that `load_lora_weights` reads."""
        state = get_peft_model_state_dict(self.pipeline.unet, adapter_name="default")
        return {f"unet.{name}": value.detach().float().cpu().clone() for name, value in state.items()}

    @torch.no_grad()
    def generate(self, noise: Tensor, embeddings: Tensor, sampler: SamplerSettings, seeds: list[int]) -> Tensor:
        """Denoise noise [n, channels, height, width] with the pipeline's own scheduler to latents of the same shape."""
        empty = self.encode_prompts([""]).expand(len(noise), -1, -1)
        options: dict[str, Any] = {}
        if sampler.guidance_scale > 1.0:
            options["negative_prompt_embeds"] = empty
        result: Tensor = self.pipeline(
            prompt_embeds=embeddings,
            latents=noise.to(self.device, self.pipeline.unet.dtype),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            num_inference_steps=sampler.num_inference_steps,
            guidance_scale=sampler.guidance_scale,
            output_type="latent",
            **options,
        ).images
        return result

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents [n, channels, height, width] to RGB images."""
        vae = self.pipeline.vae
        decoded = vae.decode(latents.to(self.device, vae.dtype) / vae.config.scaling_factor).sample
        images: list[Image.Image] = self.pipeline.image_processor.postprocess(decoded, output_type="pil")
        return images

    def training_loss(
        self, latents: Tensor, embeddings: Tensor, generator: torch.Generator, min_snr_gamma: float | None
    ) -> Tensor:
        """Mean squared error of the prediction a sample: [n]; timesteps are uniform, noise comes from the CPU.

        With `min_snr_gamma` each sample's loss is weighted as in Min-SNR (arXiv 2303.09556).
        """
        noise = torch.randn(latents.shape, generator=generator).to(self.device, latents.dtype)
        count = self._noising.config.num_train_timesteps
        timesteps = torch.randint(count, (len(latents),), generator=generator).to(self.device)
        noisy = self._noising.add_noise(latents, noise, timesteps)
        prediction = self.pipeline.unet(noisy, timesteps, embeddings).sample
        velocity = self._noising.config.prediction_type == "v_prediction"
        target = self._noising.get_velocity(latents, noise, timesteps) if velocity else noise
        loss = (prediction.float() - target.float()).square().mean(dim=(1, 2, 3))
        if min_snr_gamma is None:
            return loss
        snr = compute_snr(self._noising, timesteps)
        clipped = snr.clamp(max=min_snr_gamma)
        return loss * (clipped / (snr + 1.0) if velocity else clipped / snr)


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
