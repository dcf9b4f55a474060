"""Where a base model lies, and whether it is whole, before anything is computed with it."""

import json
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.errors import InputError

SHIPPED = Path(__file__).parents[2] / "scenes" / "assets" / "base"
"""The embedded default, `base: scenes`."""
_WEIGHTS = {"unet", "vae", "text_encoder", "transformer", "text_encoder_2", "text_encoder_3"}


class ModelError(InputError):
    """A base model cannot be used."""


def model_source(base: str) -> str:
    """The folder or hub id that `base` names."""
    return str(SHIPPED) if base == "scenes" else str(Path(base).expanduser() if _is_folder_name(base) else base)


def check_model(model: ModelSettings) -> None:
    """Raise ModelError unless the base model is there and has all its components."""
    source = model_source(model.base)
    folder = Path(source)
    if folder.is_dir():
        _check_folder(folder)
    elif model.base == "scenes" or _is_folder_name(model.base):
        raise ModelError(
            f"model.base: there is no folder {source!r}; give a folder that save_pretrained wrote, "
            "a Hugging Face model id, or 'scenes' for the shipped model"
        )
    else:
        _check_hub(model)


def _is_folder_name(base: str) -> bool:
    return base.startswith((".", "/", "~")) or base.count("/") != 1 or Path(base).exists()


def _check_folder(folder: Path) -> None:
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(
            f"model.base: {str(folder)!r} has no model_index.json, so it is no diffusers pipeline; "
            "give the folder that save_pretrained wrote"
        )
    try:
        components = json.loads(index.read_text())
    except ValueError as error:
        raise ModelError(f"model.base: {str(index)!r} is not JSON ({error}); save the pipeline again") from error
    named = {name for name, value in components.items() if isinstance(value, list) and value and value[0] is not None}
    if not named >= {"unet", "vae", "text_encoder", "tokenizer", "scheduler"}:
        lacking = sorted({"unet", "vae", "text_encoder", "tokenizer", "scheduler"} - named)
        raise ModelError(
            f"model.base: {str(index)!r} names no {', '.join(lacking)}; a Stable Diffusion pipeline has them"
        )
    missing = sorted(
        name
        for name in named
        if not (folder / name).is_dir()
        or (name in _WEIGHTS and not any((folder / name).glob("*.safetensors")))
        or not any((folder / name).glob("*.json"))
    )
    if missing:
        raise ModelError(
            f"model.base: {str(folder)!r} lacks {', '.join(missing)} (a config, and for networks safetensors weights) "
            "that model_index.json names; save the pipeline again"
        )


def _check_hub(model: ModelSettings) -> None:
    try:
        hf_hub_download(model.base, "model_index.json", revision=model.revision)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model.base: {model.base!r} is no local folder, and the model hub did not give it "
            f"({type(error).__name__}); check the id and revision {model.revision!r}, or give a local folder"
        ) from error
