"""Pass an adapter to other processes through a file."""

from pathlib import Path
from typing import Any, NamedTuple

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.tensor_files import load_tensors, save_tensors
from rsidiff_kedro.diffusion.bases import ModelError


class PortableAdapter(NamedTuple):
    """Name the file that an adapter was written to, and hold its record."""

    path: Path
    info: dict[str, Any]

    @classmethod
    def write(cls, adapter: Adapter, folder: Path) -> "PortableAdapter":
        """Write the weights into a folder that all machines share."""
        path = folder.absolute() / f"adapter_{adapter.digest}.safetensors"
        save_tensors(adapter.weights, path)
        return cls(path, adapter.info)

    def read(self) -> Adapter:
        """Return the adapter; raise ModelError if the file is not there."""
        weights = load_tensors(self.path)
        if weights is None:
            raise ModelError(
                f"{self.path} is missing on this machine; the folder data/ must be the same on every machine"
            )
        return Adapter(weights, self.info)
