"""Open checkpoints of preference models: find the file, check that it is whole, and run no code from it.

A source is a local file, a local folder that holds the official file, or a Hugging Face id (read from the hub's cache
first). Weights come from safetensors, or from a `.pt` read with `weights_only=True`.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import pinned
from rsidiff_kedro.core.locations import Location, expand, is_path
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.lost_pages import find_lost_pages_of
from rsidiff_kedro.core.untrusted.model_configs import absurd_number, names_foreign_code
from rsidiff_kedro.core.untrusted.network_weights import describe_differences, is_zero, lost_weights
from rsidiff_kedro.core.untrusted.torch_files import ForeignObjectError, TorchFileError, load_torch_file

Network = TypeVar("Network", bound=nn.Module)
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
CONFIG_FILE = "config.json"
"""Of transformers: part of a model in its format, or next to a `.pt` of another size than the official one."""
MED_CONFIG_FILE = "med_config.json"
"""Of the official package of ImageReward, next to its `.pt`."""
OFFICIAL_FILES = ("HPS_v2.1_compressed.pt", "HPS_v2_compressed.pt", "ImageReward.pt", "aesthetic-model.pth")
"""Names that say which model's weights a file holds."""
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"
"""Of transformers: how images are prepared. The second, of newer versions, has a section `image_processor`."""
_BESIDE = (CONFIG_FILE, PREPROCESSOR_FILE, PROCESSOR_FILE)
Checkpoint = Annotated[str, Location(revision="revision", beside=(*_BESIDE, MED_CONFIG_FILE))]
"""A file, a folder with the official file, or a Hugging Face id, whose revision is the setting `revision`."""
HubFolder = Annotated[str, Location(beside=_BESIDE)]
"""A folder, or a Hugging Face id of which the main branch is read; for a CLIP model also a file."""


class CheckpointError(InputError):
    """A checkpoint or tokenizer of a preference model that cannot be used."""


def fetch(source: str, file_name: str, revision: str | None = None) -> Path:
    """Return a source's file; download it from the hub unless it is local or cached.

    Raises:
        CheckpointError: the file does not exist.
    """
    return _local_file(source, file_name) or Path(_ask_hub(source, file_name, revision))


def check_source(source: str, file_name: str, revision: str | None = None) -> Path | None:
    """Return a source's file, or None if it has yet to be downloaded; same errors as `fetch`."""
    path = _local_file(source, file_name)
    if path is not None:
        return path
    found = _ask_hub(source, file_name, revision, dry_run=True)
    return Path(found.local_path) if found.is_cached else None


def fetch_if_any(source: str, file_name: str, revision: str | None = None) -> Path | None:
    """Return a file that a source may have, beside a local file or in a folder or repository; None if it has none.

    Raises:
        CheckpointError: neither the hub nor its cache says whether there is such a file.
    """
    path = expand(source)
    if os.path.exists(path):
        found = (path if os.path.isdir(path) else path.parent) / file_name
        return found if found.is_file() else None
    try:
        return Path(_ask_hub(source, file_name, revision))
    except CheckpointError as error:
        cause = error.__cause__
        if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
            return None
        if try_to_load_from_cache(source, file_name, revision=pinned(source, revision)) is _CACHED_NO_EXIST:
            return None  # the hub said so before
        raise


def _local_file(source: str, file_name: str) -> Path | None:
    path = expand(source)
    if os.path.isfile(path):  # pathlib raises an error if a path is too long
        if path.name in OFFICIAL_FILES and path.name != file_name:
            raise CheckpointError(
                f"{source!r} has the name of another model's official file, and {file_name} is read here; give the "
                "right file, a folder that holds it, or a Hugging Face id (owner/name)"
            )
        return path
    if os.path.isdir(path):
        if (path / file_name).is_file():
            return path / file_name
        present = ", ".join(sorted(each.name for each in path.iterdir())[:10]) or "nothing"
        raise CheckpointError(f"the folder {source!r} has no {file_name}; there are: {present}")
    if is_path(source):
        raise CheckpointError(
            f"there is no {source!r}; give a file, a folder that holds {file_name}, or a Hugging Face id (owner/name)"
        )
    return None


def _ask_hub(source: str, file_name: str, revision: str | None, **options: Any) -> Any:
    try:
        return hf_hub_download(source, file_name, revision=pinned(source, revision), **options)
    except (OSError, ValueError) as error:  # base classes of huggingface_hub's errors
        raise CheckpointError(
            f"{source!r} is no local file or folder, and the model hub did not give its {file_name} "
            f"({type(error).__name__}); check the id and revision {revision!r}, HF_HUB_OFFLINE and the network, "
            "or give the file's path"
        ) from error


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
    lost = find_lost_pages_of(path)
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
        raise CheckpointError(
            f"{str(path)!r} does not fit its model: it {differences}; give the official file, or put a config.json of "
            "transformers that describes another size next to it"
        )


def build_network(
    build: Callable[[], Network], weights: Mapping[str, Tensor], path: Path, dtype: str = "float32"
) -> Network:
    """Build a frozen network in evaluation mode from the weights of `path`, without initializing it first.

    Raises:
        CheckpointError: the weights do not fit; see `check_weights`.
    """
    check_weights(build, weights, path)
    with torch.device("meta"):
        network = build()
    kind = getattr(torch, dtype)
    network.load_state_dict({name: each.to(kind, copy=True) for name, each in weights.items()}, assign=True)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name == "position_ids":  # the only kind of buffer that is not stored
                setattr(module, name, torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return network.requires_grad_(False).eval()


def read_config(kind: Any, path: Path) -> Any:
    """Read a transformers configuration of class `kind` from its JSON file.

    Raises:
        CheckpointError: the file is no such configuration, asks for foreign code, or has absurd sizes.
    """

    def refuse(error: Exception) -> CheckpointError:
        return CheckpointError(f"{str(path)!r} is no {kind.__name__} ({reason(error, 120)}); save the model again")

    with loading(refuse):
        content = json.loads(path.read_text(encoding="utf-8"))
    if names_foreign_code(content):
        raise CheckpointError(f"{str(path)!r} asks for foreign attention code, and none is run; get the official file")
    number = absurd_number(content)
    if number is not None:
        raise CheckpointError(f"{str(path)!r} says {number}, which no model has; save the model again")
    with loading(refuse):
        return kind.from_json_file(str(path))


def config_beside(checkpoint: str, kind: Any) -> Any | None:
    """Read the configuration next to a local `.pt` of another size than the official one; None if there is none."""
    path = expand(checkpoint)
    beside = (path if path.is_dir() else path.parent) / CONFIG_FILE
    return read_config(kind, beside) if path.exists() and beside.is_file() else None


def describe(checkpoint: str, revision: str | None, path: Path) -> dict[str, Any]:
    """Return what a score's record says of a checkpoint: source, revision, path, size in bytes and SHA-256."""
    size = path.stat().st_size
    sha256 = _sha256(str(path.resolve()), size, path.stat().st_mtime_ns)
    return {"checkpoint": checkpoint, "revision": revision, "file": str(path), "bytes": size, "sha256": sha256}


@lru_cache(maxsize=32)
def _sha256(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
