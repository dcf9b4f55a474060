"""Opening checkpoints of preference models: where they lie, that they are whole, and that nothing in them runs.

A source is a local file, a local folder that holds the official file, or a Hugging Face id; the hub's cache is used,
and with HF_HUB_OFFLINE nothing else. Weights come from safetensors, or from a `.pt` read with `weights_only=True`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.model_configs import absurd_size, names_foreign_code
from rsidiff_kedro.core.untrusted.torch_files import ForeignObjectError, TorchFileError, load_torch_file

Network = TypeVar("Network", bound=nn.Module)
CONFIG_FILE = "config.json"
"""Of transformers: of a model in its format, or beside a `.pt` of another size than the official one."""
_NAMED = 3
"""Names of keys that a message gives, of each kind."""


class CheckpointError(InputError):
    """A checkpoint or tokenizer of a preference model cannot be used; the message says what is wrong with it."""


def local_file(source: str, file_name: str) -> Path | None:
    """The file of a local source, None if the source is a hub id.

    Raises:
        CheckpointError: the source names a place on this machine, and the file is not there.
    """
    path = Path(os.path.expanduser(source))
    if os.path.isfile(path):  # pathlib raises where a path is too long
        return path
    if os.path.isdir(path):
        if (path / file_name).is_file():
            return path / file_name
        there = ", ".join(sorted(each.name for each in path.iterdir())[:10]) or "nothing"
        raise CheckpointError(f"the folder {source!r} has no {file_name}; there are: {there}")
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise CheckpointError(
            f"there is no {source!r}; give a file, a folder that holds {file_name}, or a Hugging Face id (owner/name)"
        )
    return None


def fetch(source: str, file_name: str, revision: str | None = None) -> Path:
    """The source's file on this machine; a hub's file is downloaded unless it is in the cache.

    Raises:
        CheckpointError: there is no such file.
    """
    path = local_file(source, file_name)
    if path is not None:
        return path
    try:
        return Path(hf_hub_download(source, file_name, revision=revision))
    except (OSError, ValueError) as error:  # all of huggingface_hub's derive from these
        raise _not_on_hub(source, file_name, revision, error) from error


def check_source(source: str, file_name: str, revision: str | None = None) -> Path | None:
    """The source's file if it is on this machine, None if the hub has it; nothing large is downloaded.

    Raises:
        CheckpointError: there is no such file.
    """
    path = local_file(source, file_name)
    if path is not None:
        return path
    try:
        found = hf_hub_download(source, file_name, revision=revision, dry_run=True)
    except (OSError, ValueError) as error:  # as in `fetch`
        raise _not_on_hub(source, file_name, revision, error) from error
    return Path(found.local_path) if found.is_cached else None


def _not_on_hub(source: str, file_name: str, revision: str | None, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{source!r} is no local file or folder, and the model hub did not give its {file_name} "
        f"({type(error).__name__}); check the id and revision {revision!r}, HF_HUB_OFFLINE and the network, "
        "or give the file's path"
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, as they are stored; mapped from the file, so that this costs little.

    What training scripts wrap around them, `{"state_dict": …}` and a `module.` before each name, is taken off, and
    the buffers of positions that older versions saved are left out.

    Raises:
        CheckpointError: the file is empty, cut, holds anything but tensors, or is no checkpoint.
    """
    stored = _read(path)
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
        if path.suffix == ".safetensors":
            return load_file(path)
        return load_torch_file(path, mmap=True)
    except ForeignObjectError as error:
        raise CheckpointError(
            f"{str(path)!r} is no checkpoint, or holds other things than tensors, which could run code and were not "
            "read; get the official file"
        ) from error
    except (SafetensorError, TorchFileError, OSError) as error:
        first = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{str(path)!r} is cut or no checkpoint ({first}); download it again") from error


def check_weights(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError unless the weights are those of the network, no more, no less, each of its shape."""

    def refuse(error: Exception) -> CheckpointError:
        said = reason(error, 120)
        return CheckpointError(
            f"{str(path)!r} belongs to a configuration of which no model can be built ({said}); save the model again"
        )

    with loading(refuse), torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in build().state_dict().items()}
    missing = [name for name in expected if name not in weights]
    extra = [name for name in weights if name not in expected]
    other = [
        f"{name} {list(weights[name].shape)} in place of {list(shape)}"
        for name, shape in expected.items()
        if name in weights and weights[name].shape != shape
    ]
    problems = [
        f"{what} {len(names)} of {len(expected)} ({', '.join(names[:_NAMED])}{', …' if len(names) > _NAMED else ''})"
        for what, names in (("lacks", missing), ("has too many:", extra), ("has other shapes for", other))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{str(path)!r} does not fit its model: it {'; '.join(problems)}; give the official file, or beside it a "
            "config.json of transformers that describes another size"
        )


def build_network(build: Callable[[], Network], weights: Mapping[str, Tensor], dtype: str) -> Network:
    """The network with weights that passed `check_weights`, frozen, in evaluation mode; it is not initialized first."""
    with torch.device("meta"):
        network = build()
    kind = getattr(torch, dtype)
    network.load_state_dict({name: each.to(kind, copy=True) for name, each in weights.items()}, assign=True)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name == "position_ids":  # the one kind of buffer that is not stored
                setattr(module, name, torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return network.requires_grad_(False).eval()


def read_config(kind: Any, path: Path) -> Any:
    """A transformers configuration from its JSON file.

    Raises:
        CheckpointError: the file is none of this kind, or asks for code of somebody else.
    """

    def refuse(error: Exception) -> CheckpointError:
        return CheckpointError(f"{str(path)!r} is no {kind.__name__} ({reason(error, 120)}); save the model again")

    with loading(refuse):
        content = json.loads(path.read_text(encoding="utf-8"))
    if names_foreign_code(content):
        raise CheckpointError(f"{str(path)!r} asks for an attention of somebody else's code, and none is run")
    size = absurd_size(content)
    if size is not None:
        raise CheckpointError(f"{str(path)!r} says {size}, which no model has; save the model again")
    with loading(refuse):
        return kind.from_json_file(str(path))


def config_beside(checkpoint: str, kind: Any) -> Any | None:
    """The configuration that lies beside a local `.pt` of another size than the official one, None if none does."""
    path = Path(os.path.expanduser(checkpoint))
    beside = (path if path.is_dir() else path.parent) / CONFIG_FILE
    return read_config(kind, beside) if path.exists() and beside.is_file() else None


def describe_file(path: Path) -> dict[str, str | int]:
    """What a score's record says of a checkpoint: its path, size in bytes and SHA-256."""
    status = path.stat()
    return {
        "file": str(path),
        "bytes": status.st_size,
        "sha256": _sha256(str(path.resolve()), status.st_size, status.st_mtime_ns),
    }


@lru_cache(maxsize=32)
def _sha256(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
