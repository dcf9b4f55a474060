"""Open files that torch saved, which are pickles, without running code in them."""

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch

from rsidiff_kedro.core.untrusted.loading import DAMAGE, reason


class TorchFileError(ValueError):
    """A file that is cut, damaged or not torch's; the message is torch's, in one line."""


class ForeignObjectError(TorchFileError):
    """A file that is not a pickle, or holds other objects than tensors and plain values; they were not read."""


def load_torch_file(path: Path, mmap: bool = False) -> Any:
    """Return the file's tensors, numbers, texts and collections of them, on the CPU.

    `mmap` leaves tensors on disk until they are used, except for files of torch's old format.

    Raises:
        TorchFileError: the file cannot be read or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise ForeignObjectError(reason(error, 120)) from error
    except (*DAMAGE, zipfile.BadZipFile, struct.error, EOFError) as error:
        raise TorchFileError(reason(error, 120)) from error
