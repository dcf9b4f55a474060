"""Write tensors with their digest: safetensors has no check sum, and a power cut may leave zeros in place of values."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from rsidiff_kedro.core.files import replacing, share

if TYPE_CHECKING:
    from torch import Tensor

_DIGEST = "digest"


def digest_of(tensors: Mapping[str, "Tensor"]) -> str:
    """Return the SHA-256 of names, shapes, types and values."""
    import torch  # slow to import, and a run that makes nothing does without

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())  # NumPy has no bfloat16
    return digest.hexdigest()


def write_safetensors(tensors: Mapping[str, "Tensor"], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that others may read, as the umask says."""
    from safetensors.torch import save_file

    save_file(dict(tensors), path, dict(metadata) if metadata is not None else None)
    share(path)


def save_tensors(tensors: Mapping[str, "Tensor"], path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all, with the digest of the tensors and further notes in its header."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as partial:
        write_safetensors(stored, partial, {**(notes or {}), _DIGEST: digest_of(stored)})


def load_tensors(path: Path, notes: Mapping[str, str] | None = None) -> "dict[str, Tensor] | None":
    """Return the tensors of a file; None if there is none, it is damaged, or its notes are others."""
    try:
        with safe_open(path, "pt") as file:
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = file.metadata() or {}
    except (OSError, SafetensorError):
        return None
    return tensors if found == {**(notes or {}), _DIGEST: digest_of(tensors)} else None
