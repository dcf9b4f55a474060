"""Keep the shards that a step has finished, in memory or in a folder from which a killed run continues."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from PIL import Image

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.core.image_set import PNG, ImageFiles
from rsidiff_kedro.core.tensor_files import load_tensors, save_tensors

if TYPE_CHECKING:
    from torch import Tensor

VALUES = "values"


class PartialResults:
    """The values (latents, scores) and images of finished shards.

    In a folder, a shard is its PNG files and one safetensors file, which is written last and holds the digest of all:
    where it exists and agrees, the shard is complete.

    Args:
        folder: of unfinished work; None keeps everything in memory.

    Attributes:
        further: tensors of the shard that was loaded last, beside its values.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._images: list[Image.Image] = []
        self._paths: list[Path] = []
        self.further: dict[str, Tensor] = {}

    @property
    def images(self) -> Sequence[Image.Image]:
        """Return all images loaded or saved so far; those in a folder are opened when they are asked for."""
        return self._images if self._folder is None else ImageFiles(self._paths)

    def path(self, key: str) -> Path:
        """Return the file of a shard's values, whose tensor is named `VALUES`."""
        assert self._folder is not None
        return _file(self._folder, key)

    def load(self, key: str, count: int, image_names: Sequence[str] = ()) -> "Tensor | None":
        """Return a shard's values [count, …]; None if the shard, or one of its images, is missing or damaged."""
        if self._folder is None:
            return None
        paths = [self._folder / name for name in image_names]
        found = load_tensors(_file(self._folder, key), _notes(paths))
        if found is None or VALUES not in found or len(found[VALUES]) != count:
            return None
        self._paths += paths
        self.further = {name: tensor for name, tensor in found.items() if name != VALUES}
        return found[VALUES]

    def save(
        self,
        key: str,
        values: "Tensor",
        image_names: Sequence[str] = (),
        images: Sequence[Image.Image] = (),
        further: Mapping[str, "Tensor"] = MappingProxyType({}),
    ) -> None:
        """Keep a shard's values and images, and further tensors by their names unless they are empty."""
        if self._folder is None:
            self._images += images
            return
        paths = [self._folder / name for name in image_names]
        for parent in {path.parent for path in paths}:
            parent.mkdir(exist_ok=True)
        for path, image in zip(paths, images, strict=True):
            # A worker of a run that was killed may still write the same. The digest shows what a power cut tears.
            with replacing(path, sync=False) as partial:
                image.save(partial, **PNG)
        tensors = {VALUES: values, **{name: tensor for name, tensor in further.items() if len(tensor)}}
        save_tensors(tensors, _file(self._folder, key), _notes(paths))
        self._paths += paths


def _notes(images: Sequence[Path]) -> dict[str, str]:
    """Return a digest of the images' files, of which some may be missing."""
    digest = hashlib.sha256()
    for path in images:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return {"images": digest.hexdigest()}


def _file(folder: Path, key: str) -> Path:
    return folder / (quote(key, safe="") + ".safetensors")
