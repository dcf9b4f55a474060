"""Store networks: a folder that `save_pretrained` writes and `from_pretrained` reads."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

from kedro.io.core import Version

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import share
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.datasets.folder import FolderDataset, FolderError


class PretrainedDataset(FolderDataset[Any]):
    """Anything with `save_pretrained` and `from_pretrained`, safetensors only.

    Args:
        class_name: the class that reads it, for example `diffusers.AutoencoderKL`.
        stored_dtype: dtype in which floating-point weights are stored, for example "float16"; None keeps theirs. The
            config stays the same, so the weights are still loaded as float32.
    """

    own_files = ("*.json",)

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        class_name: str,
        stored_dtype: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._class_name = class_name
        self._stored_dtype = stored_dtype or ""

    def _write(self, data: Any, folder: Path) -> None:
        import torch  # slow to import
        from safetensors.torch import load_file, save_file

        data.save_pretrained(folder)
        for path in folder.rglob("config.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            if config.pop("_name_or_path", None) is not None:  # the path that diffusers read it from on this machine
                path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        for path in folder.rglob("*.safetensors") if self._stored_dtype else ():
            weights = load_file(path)
            floats = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
            stored = weights | {name: tensor.to(getattr(torch, self._stored_dtype)) for name, tensor in floats.items()}
            save_file(stored, path, {"format": "pt"})
        for path in folder.rglob("*.safetensors"):
            share(path)

    def _read(self, folder: Path) -> Any:
        from rsidiff_kedro.diffusion.model_folder import left_out
        from rsidiff_kedro.diffusion.model_weights import check_pretrained

        module, _, name = self._class_name.rpartition(".")

        def refuse(error: Exception) -> FolderError:
            return FolderError(f"{folder} holds no {self._class_name} ({reason(error)}); train it again")

        try:
            with loading(refuse):
                kind = getattr(import_module(module), name)
                check_pretrained(folder, kind)
                return kind.from_pretrained(folder, use_safetensors=True, **left_out(folder, kind))
        except InputError as error:
            raise refuse(error) from error

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "class_name": self._class_name}
