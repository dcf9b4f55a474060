"""Build models of full size in the official formats, with random weights: no hub is needed.

The sizes are those that the published configurations state. Generated images are noise; what a rehearsal shows is
whether files, dtypes, memory and reports of that size work.
"""

import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "parity"))
import samples

VOCABULARY = 49408
"""The entries of CLIP's vocabulary."""
CLIP_L_14 = samples.ClipSize(768, 14, 1024, 24, 16, 768, 12, 12)
"""openai/clip-vit-large-patch14."""


def build(folder: Path) -> None:
    """Write what is missing of the models into a folder, about 25 GB."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "rewards" / "done").exists():
        build_rewards(folder / "rewards")
        (folder / "rewards" / "done").touch()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "rewards" / "clip_tokenizer", model_max_length=77)
    for name, make in PIPELINES.items():
        if not (folder / name / "model_index.json").exists():
            make(tokenizer).save_pretrained(folder / name)


def build_rewards(folder: Path) -> None:
    """Write HPSv2.1 and PickScore (CLIP ViT-H/14), ImageReward (BLIP ViT-L/16) and CLIP ViT-L/14."""
    samples.save_models(folder, "full", merges())
    for name, size in {"pick_score": samples.CLIP_SIZES["full"], "clip_score": CLIP_L_14}.items():
        CLIPModel(CLIPConfig(**samples.clip_config(size, VOCABULARY))).save_pretrained(folder / name)


def merges() -> list[tuple[str, str]]:
    """Return as many merges as CLIP's vocabulary has: those of some words, and pairs of bytes that no text has."""
    rare = list(samples.byte_letters().values())[94:]
    pairs = [(first, second + end) for end in ("", "</w>") for first in rare for second in rare]
    found = [*samples.small_merges(), *pairs]
    return found[: VOCABULARY - 2 * 256 - 2]


def stable_diffusion(tokenizer: CLIPTokenizer, small: bool = False) -> DiffusionPipeline:
    """Build CompVis/stable-diffusion-v1-4: 860 M parameters in the UNet, float32 as published; or a small one."""
    channels = (32, 64, 64, 64) if small else (320, 640, 1280, 1280)
    return StableDiffusionPipeline(
        vae=autoencoder(small, latent_channels=4),
        text_encoder=CLIPTextModel(text_config(tokenizer, 768, 2 if small else 12, 12, 768)),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=16 if small else 64, cross_attention_dim=768, block_out_channels=channels
        ),
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_3(tokenizer: CLIPTokenizer, small: bool = False) -> DiffusionPipeline:
    """Build stabilityai/stable-diffusion-3-medium-diffusers without T5: 2 B parameters, float16; or a small one."""
    layers, heads = (2, 2) if small else (24, 24)
    transformer = SD3Transformer2DModel(
        sample_size=16 if small else 128,
        in_channels=16,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=heads,
        caption_projection_dim=heads * 64,
        joint_attention_dim=4096,
        pooled_projection_dim=2048,
        pos_embed_max_size=192,
    )
    for parameter in transformer.parameters():
        if not parameter.any():  # diffusers starts gates with zeros, and images would not depend on the prompt
            torch.nn.init.normal_(parameter, std=0.02)
    pipeline = StableDiffusion3Pipeline(
        vae=autoencoder(
            small,
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(text_config(tokenizer, 768, layers // 2, 12, 768)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer, 1280, layers * 4 // 3, 20, 1280)),
        text_encoder_3=None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=None,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )
    return pipeline.to(torch.float16)


def autoencoder(small: bool, **config: object) -> AutoencoderKL:
    """Build the autoencoder of both: 8 x 8 pixels are one latent."""
    blocks = 4
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(32, 32, 32, 32) if small else (128, 256, 512, 512),
        layers_per_block=1 if small else 2,
        sample_size=512,
        **config,
    )


def text_config(tokenizer: CLIPTokenizer, width: int, layers: int, heads: int, projection: int) -> CLIPTextConfig:
    """Return the configuration of a CLIP text encoder."""
    return CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=projection,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )


PIPELINES = {"sd14": stable_diffusion, "sd3": stable_diffusion_3}
"""The models by the environment that uses them."""


if __name__ == "__main__":
    build(Path(sys.argv[1]))
