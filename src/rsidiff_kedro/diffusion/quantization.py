"""Load the large text encoders (T5, Gemma) in 8 or 4 bits, with bitsandbytes on a CUDA GPU."""

from collections.abc import Collection, Sequence
from importlib.util import find_spec

import torch
from diffusers import PipelineQuantizationConfig
from transformers import BitsAndBytesConfig

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.settings import Quantization

BYTES: dict[str, float] = {"bitsandbytes_8bit": 1.0, "bitsandbytes_4bit": 0.5}
"""Per weight."""
SETTING = "model.text_encoder_quantization"


def check_quantization(kind: Quantization | None, family: str, encoders: Collection[str], device: torch.device) -> None:
    """Raise ModelError if text encoders cannot be loaded in so few bits.

    Args:
        kind: None for no quantization.
        family: the family's name, for the message.
        encoders: the large text encoders of the family that are loaded.
        device: that the model computes on.
    """
    if kind is None:
        return
    if not encoders:
        raise ModelError(
            f"{SETTING} is {kind!r}, but {family} as it is set loads no large text encoder (T5, Gemma); set it to null"
        )
    if device.type != "cuda":
        raise ModelError(
            f"{SETTING} is {kind!r}, which is computed on a CUDA GPU alone, and model.device is {device.type} here; "
            "set it to null"
        )
    if find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{SETTING} is {kind!r}, and bitsandbytes is not installed; run `pip install 'rsidiff_kedro[quantization]'`"
            ", or set it to null"
        )


def quantization_config(
    kind: Quantization | None, encoders: Sequence[str], dtype: torch.dtype
) -> PipelineQuantizationConfig | None:
    """Return what `from_pretrained` takes to load these components in 8 bits (LLM.int8) or 4 bits (NF4)."""
    if kind is None:
        return None
    if kind == "bitsandbytes_8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    return PipelineQuantizationConfig(quant_mapping=dict.fromkeys(encoders, config))
