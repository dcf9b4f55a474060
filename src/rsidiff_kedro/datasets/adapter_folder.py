"""Store adapters: the weights under diffusers' names, and a JSON file that says where they come from."""

import json
from pathlib import Path
from typing import Any

from kedro_datasets._typing import ImagePreview
from safetensors import SafetensorError

from rsidiff_kedro.core.adapter import INFO_NAME, WEIGHTS_NAME, Adapter
from rsidiff_kedro.core.tensor_files import write_safetensors
from rsidiff_kedro.datasets.folder import FolderDataset, FolderError, require_file
from rsidiff_kedro.datasets.image_folder import ImageSetDataset


class AdapterDataset(FolderDataset[Adapter]):
    """An `Adapter` as a folder that an unmodified diffusers pipeline loads with `load_lora_weights(folder)`.

    `adapter.json` holds the adapter's info and the digest of its weights, which loading checks. The preview is a sheet
    of images that the adapter generated.
    """

    large_files = (WEIGHTS_NAME,)
    own_files = (INFO_NAME, WEIGHTS_NAME)

    def _write(self, data: Adapter, folder: Path) -> None:
        save_weights(data, folder / WEIGHTS_NAME)
        (folder / INFO_NAME).write_text(adapter_json(data), encoding="utf-8")

    def _read(self, folder: Path) -> Adapter:
        from safetensors.torch import load_file  # with torch, which is slow to import

        info = _read_info(folder)
        digest = info.pop("digest", None)
        _check_lora(folder / INFO_NAME, info.get("lora", {}))
        path = require_file(folder / WEIGHTS_NAME, "the adapter's weights")
        try:
            adapter = Adapter(load_file(path), info)
        except (SafetensorError, OSError) as error:
            raise FolderError(f"{path} is no readable safetensors file ({error}); make the adapter anew") from error
        if adapter.digest != digest:
            raise FolderError(
                f"the weights in {path} have the digest {adapter.digest}, but {INFO_NAME} says {digest}: "
                "one of the two was changed after it was saved; make the adapter anew"
            )
        return adapter

    def origin(self) -> str:
        """Return the text of `adapter.json`, without reading the weights."""
        folder = self._load_folder()
        _read_info(folder)
        return (folder / INFO_NAME).read_text(encoding="utf-8")

    def digest(self) -> str:
        """Return the digest of the weights that `adapter.json` says, without reading the weights, which may be pruned.

        Raises:
            FolderError: it says none.
        """
        path = self._load_folder() / INFO_NAME
        found = _read_info(path.parent).get("digest")
        if not isinstance(found, str):
            raise FolderError(f"{path} says digest = {str(found)[:60]}, which is none; make the adapter anew")
        return found

    def preview(self, filepath: str) -> ImagePreview:
        """Show a contact sheet of this adapter's images, as base64 of a PNG.

        Args:
            filepath: the image sets of its round, of which each says which adapter generated it.

        Raises:
            FolderError: none of them is of this adapter.
        """
        digest = self.digest()
        found = ImageSetDataset(filepath=filepath).newest_of(digest)
        if found is None:
            raise FolderError(f"there are no images of the adapter {digest} in {filepath}; let the run come to its end")
        return found.preview()


def save_weights(adapter: Adapter, path: Path) -> None:
    """Write an adapter's weights as diffusers does; the header says their scale unless it is one."""
    from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY

    # Sorted, so equal adapters are equal byte for byte.
    weights = {name: adapter.weights[name].detach().cpu().contiguous() for name in sorted(adapter.weights)}
    header = {"format": "pt"}
    if adapter.info.get("lora"):
        header[LORA_ADAPTER_METADATA_KEY] = json.dumps(adapter.lora_metadata, indent=2, sort_keys=True)
    write_safetensors(weights, path, header)


def adapter_json(adapter: Adapter) -> str:
    """Return the adapter's info and digest as JSON, keys sorted; raise FolderError if JSON cannot hold a value."""
    try:
        return json.dumps({**adapter.info, "digest": adapter.digest}, indent=2, sort_keys=True) + "\n"
    except TypeError as error:
        raise FolderError(f"the adapter's info is no JSON: {error}; record numbers, strings and lists") from error


def _check_lora(path: Path, lora: Any) -> None:
    """Raise FolderError unless peft's settings, if there are any, are such as training records."""
    alpha = lora.get("lora_alpha", 1) if isinstance(lora, dict) else None
    if not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
        raise FolderError(f"{path} says lora = {str(lora)[:60]}, which is no scale; make the adapter anew")


def _read_info(folder: Path) -> dict[str, Any]:
    path = require_file(folder / INFO_NAME, "where the adapter comes from")
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{path} is no readable JSON ({error}); make the adapter anew") from error
    if not isinstance(info, dict):
        raise FolderError(f"{path} must hold a JSON object, not {type(info).__name__}; make the adapter anew")
    return info
