"""Compute attention in float32 where torch's own pass in bfloat16 is slow."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
"""Of `scaled_dot_product_attention`, those that may be given without a name."""


class Float32Attention(TorchFunctionMode):
    """Compute `scaled_dot_product_attention` in float32 and return it in the dtype of the query.

    On a CPU, torch's backward pass of attention in bfloat16 takes four times as long as in float32
    (`benchmarks/attention_backward.py`). A forward pass in this mode has a backward pass in float32, wherever that
    runs. Do not use it with gradient checkpointing, which repeats the forward pass outside of the mode.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Pass on every other function as it is."""
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        given = {**dict(zip(_ARGUMENTS, args, strict=False)), **(kwargs or {})}
        dtype = given["query"].dtype
        wide = {
            name: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in given.items()
        }
        with torch.autocast(given["query"].device.type, enabled=False):
            return func(**wide).to(dtype)
