"""Say how the tensors that a file holds differ from those of a network, and whether it reads prompts."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

FLOATS = ("F64", "F32", "F16", "BF16")
"""Types of weights, in safetensors' words; narrower ones need scales, which the networks here do not read."""
_ZERO_IF_UNUSED = re.compile(r"(^|\.)token_type_embeddings\.weight$")
"""RoBERTa and its kin never had such embeddings; transformers' conversion puts zeros there."""

TRIED = ("a c", "a d", "b c", "b d")
"""Prompts of letters, which every vocabulary has: whichever token is read alone, two of them are the same."""


def tells_apart(embeddings: Tensor) -> bool:
    """Tell whether the embeddings of several prompts, along the first axis, are finite and all different."""
    rows = embeddings.flatten(1).float()
    return bool(rows.isfinite().all()) and len(rows.unique(dim=0)) == len(rows)


def is_zero(weight: Any) -> bool:
    """Tell whether a weight, of a file or in memory, is all zero; of most others only the first row is read."""
    return not (weight[:1].any() or weight[:].any())


def lost_weights(network: nn.Module, zero: Mapping[str, int], others: tuple[type[nn.Module], ...] = ()) -> list[str]:
    """Return those of the tensors with zeros alone that cannot be meant: matrices, and scales of norms.

    A norm whose scale is zero returns the same for every input. Biases of zeros are usual.

    Args:
        network: that the tensors belong to; its own weights are not read.
        zero: number of dimensions of each tensor that is all zero in the file, by name.
        others: classes of norms besides torch's own. Gemma's do not belong here: to their scales 1 is added.
    """
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, *others)
    norms = [f".{name}.weight" for name, module in network.named_modules() if isinstance(module, kinds)]
    scales = {name for name in zero if any(f".{name}".endswith(norm) or norm.endswith(f".{name}") for norm in norms)}
    return [name for name, dimensions in zero.items() if dimensions > 1 or (dimensions == 1 and name in scales)]


def describe_differences(
    total: int,
    missing: Iterable[str] = (),
    unexpected: Iterable[str] = (),
    reshaped: Mapping[str, tuple[Sequence[int], Sequence[int]]] | None = None,
    retyped: Mapping[str, str] | None = None,
    zero: Iterable[str] = (),
) -> str:
    """Return the differences in one line; the empty text if there are none.

    Args:
        total: number of the network's tensors.
        missing: names of tensors that the file lacks.
        unexpected: names of tensors that the network has no place for.
        reshaped: a tensor's shape in the file and in the network.
        retyped: a tensor's type in the file, where the network has floating-point numbers.
        zero: names of tensors that hold nothing else, as after a download that was not finished.
    """
    shapes = {name: f"{list(found)} in place of {list(wanted)}" for name, (found, wanted) in (reshaped or {}).items()}
    kinds = {
        "lacks": sorted(missing),
        "has too many:": sorted(unexpected),
        "has other shapes for": [f"{name} {text}" for name, text in sorted(shapes.items())],
        "has no floating-point numbers in": [f"{name}: {kind}" for name, kind in sorted((retyped or {}).items())],
        "has nothing but zeros in": sorted(name for name in zero if not _ZERO_IF_UNUSED.search(name)),
    }
    return "; ".join(
        f"{kind} {len(names)} of {total} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for kind, names in kinds.items()
        if names
    )
