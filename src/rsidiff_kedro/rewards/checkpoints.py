"""Open checkpoints of preference models: check that a file is whole, and run no code from it.

Weights come from safetensors, or from a `.pt` read with `weights_only=True`.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rsidiff_kedro.core.locations import expand
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.lost_numbers import find_lost_numbers
from rsidiff_kedro.core.untrusted.model_configs import (
    ADAPTER_FILE,
    absurd_number,
    leads_elsewhere,
    names_foreign_code,
)
from rsidiff_kedro.core.untrusted.network_weights import describe_differences, is_zero, lost_weights
from rsidiff_kedro.core.untrusted.torch_files import ForeignObjectError, TorchFileError, load_torch_file
from rsidiff_kedro.rewards.sources import CONFIG_FILE, SAVE_WHOLE, CheckpointError, check_pointer, is_part

Network = TypeVar("Network", bound=nn.Module)
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's tensors by name; they are mapped from the file where its format allows.

    Removes the `{"state_dict": …}` and `module.` that training scripts add, and position buffers of old versions.

    Raises:
        CheckpointError: the file is empty, truncated, has lost pages, is no checkpoint, or holds anything but tensors.
    """
    stored = _read(path)
    _check_pages(path)
    if isinstance(stored, Mapping) and isinstance(stored.get("state_dict"), Mapping):
        stored = stored["state_dict"]
    by_name = isinstance(stored, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in stored.items()
    )
    if not by_name or not stored:
        raise CheckpointError(f"{str(path)!r} is no checkpoint: it holds no tensors by name; download it again")
    odd = [name for name, tensor in stored.items() if tensor.layout != torch.strided or tensor.is_meta]
    if odd:
        raise CheckpointError(f"{str(path)!r} is no checkpoint: {odd[0]!r} holds no plain numbers; download it again")
    prefix = "module." if all(name.startswith("module.") for name in stored) else ""
    weights = {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
    return {name: tensor for name, tensor in weights.items() if not name.endswith("embeddings.position_ids")}


def _read(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise CheckpointError(f"{str(path)!r} is empty; download it again")
    check_pointer(path)
    try:
        return load_file(path) if path.suffix == ".safetensors" else load_torch_file(path, mmap=True)
    except ForeignObjectError as error:
        raise CheckpointError(
            f"{str(path)!r} is no checkpoint, or holds other objects than tensors, which could run code and were not "
            "read; get the official file"
        ) from error
    except (SafetensorError, TorchFileError, OSError) as error:
        said = reason(error, 120)
        raise CheckpointError(f"{str(path)!r} is cut or no checkpoint ({said}); download it again") from error


def _check_pages(path: Path) -> None:
    """Raise CheckpointError if parts of a file were never written."""
    lost = find_lost_numbers(path)
    if lost is not None:
        raise CheckpointError(
            f"{str(path)!r} was not written from byte {lost[0]} to {lost[1]}, where it has zeros; download it again"
        )


def rename(name: str, patterns: Iterable[tuple[str, str]]) -> str:
    """Apply regular expressions and their replacements, in order, to a tensor's name."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def unique_names(renamed: Iterable[tuple[str, Tensor]], path: Path) -> dict[str, Tensor]:
    """Return renamed tensors; raise CheckpointError if two have one name."""
    found: dict[str, Tensor] = {}
    for name, tensor in renamed:
        if name in found:
            raise CheckpointError(f"{str(path)!r} holds {name!r} twice, under two names; get the official file")
        found[name] = tensor
    return found


def check_weights(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError unless the weights have the network's names and shapes, no whole numbers and no zeros."""

    def refuse(error: Exception) -> CheckpointError:
        return CheckpointError(
            f"no model can be built from the configuration of {str(path)!r} ({reason(error, 120)}); save the model "
            "again"
        )

    with loading(refuse), torch.device("meta"):
        network = build()
    expected = network.state_dict()
    both = expected.keys() & weights.keys()
    zero = {name: weights[name].dim() for name in both if weights[name].dim() and is_zero(weights[name])}
    differences = describe_differences(
        len(expected),
        missing=expected.keys() - weights.keys(),
        unexpected=weights.keys() - expected.keys(),
        reshaped={n: (weights[n].shape, expected[n].shape) for n in both if weights[n].shape != expected[n].shape},
        retyped={
            name: str(weights[name].dtype).removeprefix("torch.")
            for name in both
            if expected[name].is_floating_point() and weights[name].dtype not in _FLOATS
        },
        zero=lost_weights(network, zero),
    )
    if differences:
        advice = "give the official file, or put a config.json of transformers that describes another size next to it"
        if is_part(path.name):
            advice = f"by its name it is one of several parts, and only whole checkpoints are read; {SAVE_WHOLE}"
        raise CheckpointError(f"{str(path)!r} does not fit its model: it {differences}; {advice}")


def build_network(
    build: Callable[[], Network], weights: Mapping[str, Tensor], path: Path, dtype: str = "float32"
) -> Network:
    """Build a frozen network in evaluation mode from the weights of `path`, without initializing it first.

    Raises:
        CheckpointError: the weights do not fit; see `check_weights`.
    """
    check_weights(build, weights, path)
    kind = getattr(torch, dtype)
    return build_part(build, {name: each.to(kind, copy=True) for name, each in weights.items()})


def build_part(build: Callable[[], Network], weights: Mapping[str, Tensor]) -> Network:
    """Build a frozen network in evaluation mode that has these of its weights, and of the others no content."""
    with torch.device("meta"):
        network = build()
    network.load_state_dict(weights, strict=False, assign=True)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name == "position_ids":  # the only kind of buffer that is not stored
                setattr(module, name, torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return network.requires_grad_(False).eval()


def read_config(kind: Any, path: Path) -> Any:
    """Read a transformers configuration of class `kind` from its JSON file.

    Raises:
        CheckpointError: the file is no such configuration, asks for foreign code or other weights than those beside it
            (an adapter's, too), or has absurd sizes.
    """

    def refuse(error: Exception) -> CheckpointError:
        return CheckpointError(f"{str(path)!r} is no {kind.__name__} ({reason(error, 120)}); save the model again")

    check_pointer(path)
    with loading(refuse):
        content = json.loads(path.read_text(encoding="utf-8"))
    if names_foreign_code(content):
        raise CheckpointError(f"{str(path)!r} asks for foreign attention code, and none is run; get the official file")
    _check_weights_are_its_own(path, content)
    number = absurd_number(content)
    if number is not None:
        raise CheckpointError(f"{str(path)!r} says {number}, which no model has; save the model again")
    with loading(refuse):
        return kind.from_json_file(str(path))


def _check_weights_are_its_own(path: Path, content: Any) -> None:
    """Raise CheckpointError if a configuration, or an adapter beside it, has transformers load or change others."""
    adapter = path.with_name(ADAPTER_FILE)
    for each, read in ((path, content), (adapter, {})):
        problem = leads_elsewhere(each, read) if isinstance(read, Mapping) and each.exists() else None
        if problem is not None:
            raise CheckpointError(f"{str(each)!r} {problem}")


def config_beside(checkpoint: str, kind: Any) -> Any | None:
    """Read the configuration next to a local `.pt` of another size than the official one; None if there is none."""
    path = expand(checkpoint)
    beside = (path if path.is_dir() else path.parent) / CONFIG_FILE
    return read_config(kind, beside) if path.exists() and beside.is_file() else None
