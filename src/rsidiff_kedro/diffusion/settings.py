"""What a user can set of a model, its sampler and its fine-tuning; every field stands in `conf/base` with its unit."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Refuses unknown names and cannot be changed after it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSettings(Settings):
    """Which base model is improved, and where it computes."""

    family: str = "stable_diffusion"
    base: str = Field("scenes", min_length=1)
    revision: str | None = None
    resolution: int | None = Field(default=None, ge=32, le=4096, multiple_of=16)
    t5: bool = True
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"


class SamplerSettings(Settings):
    """How images are drawn."""

    num_inference_steps: int = Field(8, ge=1, le=1000)
    guidance_scale: float = Field(2.0, ge=1.0, le=50.0)
    micro_batch_size: int = Field(32, ge=1, le=1024)


class FinetuneSettings(Settings):
    """How a round trains its LoRA adapter. The adapter's scale (alpha over rank) is always one."""

    rank: int = Field(16, ge=1, le=512)
    layers: Literal["attention", "all"] = "all"
    learning_rate: float = Field(2e-4, gt=0, le=1.0)
    steps: int = Field(60, ge=1)
    batch_size: int = Field(32, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    condition_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    checkpoint_every: int = Field(25, ge=1)
    ema_decay: float = Field(0.0, ge=0.0, lt=1.0)
    min_snr_gamma: float | None = Field(None, gt=0)
    logit_mean: float | None = Field(None, ge=-3.0, le=3.0)
    gradient_checkpointing: bool = False
    adapter: Literal["continue", "restart"] = "continue"
    replay_rounds: int = Field(5, ge=0, le=100)
    replay_base: bool = False
