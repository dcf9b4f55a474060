"""Define the settings of models, sampling and training; runs are planned with them, without what computes."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Len
from pydantic import AfterValidator, Field

from rsidiff_kedro.core.devices import usable_devices
from rsidiff_kedro.core.locations import NoResult, OwnSettings
from rsidiff_kedro.core.section import Section, Text
from rsidiff_kedro.diffusion.bases import LOCATION, ModelError

if TYPE_CHECKING:
    import torch

Quantization = Literal["bitsandbytes_8bit", "bitsandbytes_4bit"]
"""Kinds by diffusers' names of its quantization backends."""
Runtime = Literal["torch", "compile", "onnxruntime"]
"""The program of the denoiser: torch, what `torch.compile` makes for inputs of one shape, or ONNX Runtime."""


class ModelSettings(Section):
    """Choice of the base model and of the device that it computes on.

    Attributes:
        family: a registered name, or `package.module:Class` of your own (docs/models.md).
        base: "scenes" for the shipped model, a folder that `save_pretrained` wrote, or a Hugging Face id.
        revision: branch, tag or commit of a Hugging Face id.
        resolution: pixels per side; None for the resolution that the model was trained for.
        options: settings of this family alone, such as `{t5: false}` of Stable Diffusion 3.
        device: "auto" takes a GPU if there is one.
        text_encoder_quantization: 8 or 4 bits for T5 or Gemma, on a CUDA GPU; None keeps `dtype`.
        dtype: of the weights; adapters are trained and stored in float32 either way.
    """

    family: str = "stable_diffusion"
    base: Annotated[str, LOCATION] = Field(min_length=1)
    revision: str | None = None
    resolution: int | None = Field(default=None, ge=32, le=4096, multiple_of=16)
    options: Annotated[dict[str, Any], OwnSettings()] = Field(default={})
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], NoResult()] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    text_encoder_quantization: Quantization | None = None


class SamplerSettings(Section):
    """Settings of the sampler that generates images.

    Attributes:
        num_inference_steps: denoising steps per image.
        guidance_scale: of classifier-free guidance; 1 is none.
        micro_batch_size: images computed at once; pixels may differ by 1/255 between sizes.
        runtime: of the denoiser (docs/models.md); pixels may differ by 1/255 between runtimes.
    """

    num_inference_steps: int = Field(8, ge=1, le=1000)
    guidance_scale: float = Field(2.0, ge=1.0, le=50.0)
    micro_batch_size: int = Field(32, ge=1, le=1024)
    runtime: Runtime = "torch"


class LossSettings(Section):
    """Options of the training loss.

    Attributes:
        min_snr_gamma: of Min-SNR loss weighting (5 is usual); None for none.
        logit_mean: mean of logit-normal timesteps, -3 (clean) to 3 (noisy); None for the family's own.
    """

    min_snr_gamma: float | None = Field(None, gt=0)
    logit_mean: float | None = Field(None, ge=-3.0, le=3.0)


def _is_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from None
    return text


class LoraSettings(Section):
    """Settings of a LoRA adapter, named as peft's except `rank` (peft's r) and `layers`.

    The update of a layer is its factors' product times lora_alpha / rank, or lora_alpha / sqrt(rank) if `use_rslora`.

    Attributes:
        rank: of the LoRA factors.
        layers: that get an adapter: attention, or all (attention, feed-forward and convolutions).
        target_modules: names of layers, or one regular expression on whole names, in place of `layers`.
        lora_alpha: None for the rank.
        lora_dropout: share of a layer's inputs that its adapter does not see in training.
        use_dora: also train the length of each output's weights (DoRA, arXiv 2402.09353); slower.
        use_rslora: divide by the root of the rank (rsLoRA, arXiv 2312.03732).
    """

    rank: int = Field(16, ge=1, le=512)
    layers: Literal["attention", "all"] = "all"
    target_modules: Annotated[Text, AfterValidator(_is_pattern)] | Annotated[tuple[Text, ...], Len(1)] | None = None
    lora_alpha: float | None = Field(default=None, gt=0, le=4096)
    lora_dropout: float = Field(0.0, ge=0.0, lt=1.0)
    use_dora: bool = False
    use_rslora: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """Return what an adapter's weights do not tell; nothing for a plain one of scale one on a family's layers."""
        alpha = float(self.rank if self.lora_alpha is None else self.lora_alpha)
        found = {"lora_alpha": alpha, "use_dora": self.use_dora, "use_rslora": self.use_rslora}
        plain = self.target_modules is None and found == {"lora_alpha": self.rank, "use_dora": 0, "use_rslora": 0}
        return {} if plain else {"lora": found}


class FinetuneSettings(LossSettings, LoraSettings):
    """Settings for training a round's LoRA adapter.

    Attributes:
        learning_rate: AdamW's, constant.
        steps: optimizer steps per round.
        batch_size: images per step.
        micro_batch_size: images computed at once; None for the whole batch.
        condition_dropout: share of images trained without a prompt, for classifier-free guidance.
        checkpoint_every: steps between checkpoints; a killed run continues from the last one.
        ema_decay: per step, of the moving average of the weights, the round's result; 0 keeps the last weights.
        gradient_checkpointing: less memory, more time.
        runtime: torch's own passes, or compiled ones (docs/models.md#runtimes).
        adapter: continue the parent's adapter, with its rank, layers and scale, or restart from the base each round.
    """

    learning_rate: float = Field(2e-4, gt=0, le=1.0)
    steps: int = Field(60, ge=1)
    batch_size: int = Field(32, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    condition_dropout: float = Field(0.1, ge=0.0, lt=1.0)
    checkpoint_every: Annotated[int, NoResult()] = Field(25, ge=1)
    ema_decay: float = Field(0.0, ge=0.0, lt=1.0)
    gradient_checkpointing: bool = False
    runtime: Literal["torch", "compile"] = "torch"
    adapter: Literal["continue", "restart"] = "continue"


class SftSettings(Section):
    """Supervised fine-tuning on real pairs.

    Attributes:
        images: a folder in imagefolder layout; ~ is the home folder.
        text_column: the table's column of captions.
        steps: optimizer steps; all other settings are those of `finetune`.
    """

    images: Path
    text_column: str = Field(default="text", min_length=1)
    steps: int = Field(default=600, ge=1)


def find_device(name: str) -> "torch.device":
    """Return the device that `model.device` means, or raise ModelError if torch cannot use it here."""
    import torch  # slow to import, and most commands read settings alone

    usable = usable_devices()
    if name not in ("auto", *usable):
        raise ModelError(f"model.device is {name!r}, but torch {torch.__version__} has only {', '.join(usable)} here")
    return torch.device(usable[0] if name == "auto" else name)
