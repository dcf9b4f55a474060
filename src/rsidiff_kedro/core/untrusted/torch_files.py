"""Opening what torch has saved, which is a pickle, without running anything that is in it."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

_ERRORS = (
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    OSError,
)
"""What torch raises of files that are cut, damaged or of another kind."""


class TorchFileError(ValueError):
    """A file is cut, damaged or none of torch's; the message says what torch said, in one line."""


class ForeignObjectError(TorchFileError):
    """A file is no pickle, or holds other things than tensors and plain values, which were not read."""


def load_torch_file(path: Path, mmap: bool = False) -> Any:
    """What the file holds: tensors, and numbers, texts and collections of them; on the CPU.

    Args:
        mmap: leave tensors on disk until they are used; of the current format alone.

    Raises:
        TorchFileError: the file cannot be read, or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ForeignObjectError(_reason(error)) from error
    except _ERRORS as error:
        raise TorchFileError(_reason(error)) from error


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
