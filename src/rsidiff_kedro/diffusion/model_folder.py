"""Find a base model's folder; check that it is complete and runs no foreign code, before anything is computed."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import diffusers
import transformers
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError, safe_open

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import pinned
from rsidiff_kedro.core.locations import is_path, locate
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.model_configs import absurd_size, names_foreign_code

BASES = Registry("shipped model", "rsidiff_kedro.bases", {"scenes": "rsidiff_kedro.scenes:BASE_FOLDER"})
"""Models that come with a package: `model.base` may name one."""
NETWORKS = {"unet", "vae", "text_encoder", "transformer", "text_encoder_2", "text_encoder_3"}
"""Components of a pipeline that have weights."""
_LIBRARIES = ["diffusers", "transformers", "stable_diffusion"]  # the last is diffusers' name of its safety checker
_CLASS = r"(?!Auto[A-Z])[^\W\d]\w*"  # a class Auto… opens whatever the component's config names


class ModelError(InputError):
    """A base model cannot be used."""


def model_source(base: str) -> str:
    """Return the folder or hub id that `model.base` names."""
    return str(shipped_folder(base) or locate(base))


def shipped_folder(base: str) -> Path | None:
    """Return the folder of a shipped model, None for any other."""
    return Path(BASES.load(base)) if base in BASES else None


def is_folder_name(base: str) -> bool:
    """Tell a path from a hub id (`owner/name`)."""
    return is_path(base)


def find_index(base: str, revision: str | None) -> Path:
    """Return the path of a base model's model_index.json, downloaded from the hub if need be, or raise ModelError."""
    source = model_source(base)
    index = Path(source, "model_index.json")
    if os.path.isdir(source):
        if index.is_file():
            return index
        raise ModelError(
            f"model.base: {source!r} has no model_index.json, so it is no diffusers pipeline; "
            "give the folder that save_pretrained wrote"
        )
    if base in BASES or is_folder_name(base):
        raise ModelError(
            f"model.base: there is no folder {source!r}; give a folder that save_pretrained wrote, "
            f"a Hugging Face model id, or a shipped model ({', '.join(BASES.names)})"
        )
    try:
        return Path(hf_hub_download(base, index.name, revision=pinned(base, revision)))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model.base: {base!r} is no local folder, and the model hub did not return it ({type(error).__name__}); "
            f"check the id and revision {revision!r}, log in with `hf auth login` if its licence must be accepted, or "
            "give a local folder"
        ) from error


def check_components(folder: Path) -> dict[str, str]:
    """Return the class of each component that a pipeline's index names; none for the folder of a single network.

    Raises:
        ModelError: a file asks for foreign code (a component that is no class of diffusers or transformers, or an
            attention kernel from the hub), for weights outside of its folder, or for a size that no model has.
    """
    index, classes = folder / "model_index.json", {}
    for name, value in (read_object(index) if index.is_file() else {}).items():
        if not isinstance(value, list) or value[:1] == [None]:
            continue
        if len(value) != 2 or value[0] not in _LIBRARIES or not _matches(_CLASS, value[1]):
            raise ModelError(
                f"model.base: {str(index)!r} names {value!r} as {name}; a component is a class of diffusers or "
                "transformers by its name, and code that comes with a model is not run: give a model without"
            )
        classes[name] = value[1]
    for path in (*folder.glob("*config.json"), *folder.glob("*/*config.json")):
        config = read_object(path)
        if names_foreign_code(config):
            raise ModelError(
                f"model.base: {str(path)!r} asks for an attention kernel from the hub, and foreign code is not run; "
                "remove its attn_implementation"
            )
        # A tokenizer's own config may hold 10^30.
        size = absurd_size(config) if path.name in ("config.json", "scheduler_config.json") else None
        if size is not None:
            raise ModelError(f"model.base: {str(path)!r} says {size}, which no model has; save or download it again")
    for path in (*folder.glob("*.safetensors.index*.json"), *folder.glob("*/*.safetensors.index*.json")):
        parts = read_object(path).get("weight_map")
        if not isinstance(parts, dict) or not all(_matches(r"[\w.-]+\.safetensors", part) for part in parts.values()):
            raise ModelError(f"model.base: {str(path)!r} names parts that are no safetensors beside it; save it again")
    return classes


def _matches(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of a pipeline, or raise ModelError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"model.base: {str(path)!r} is not JSON of a pipeline ({error}); save the pipeline again"
        ) from error
    return content


def check_files(folder: Path, components: Iterable[str]) -> None:
    """Raise ModelError if files of a component are missing or cut; of weights only the headers are read."""
    folders = [folder / name for name in sorted(components)]
    missing = [component.name for component in folders if not _is_whole(component)]
    if missing:
        raise ModelError(
            f"model.base: {str(folder)!r} lacks {', '.join(missing)} (a config, for networks safetensors weights and "
            "for tokenizers a vocabulary) that model_index.json names; save the pipeline, or download it, again"
        )
    for component in folders:
        for path in sorted(component.glob("*.json")):
            read_object(path)
        stored_shapes(component)


def check_libraries(folder: Path, components: Iterable[str]) -> None:
    """Raise ModelError if the class of a component needs a library that is not installed, or is in none of ours."""
    classes = check_components(folder)
    for name in sorted(components):
        problem = f"model.base: the component {name} of {str(folder)!r} is a {classes[name]}"
        try:
            kind = getattr(transformers, classes[name], None) or getattr(diffusers, classes[name], None)
            if hasattr(kind, "_backends"):  # it stands for a class whose library is missing, and says which
                kind()
        except ImportError as error:
            raise ModelError(
                f"{problem}, and a library is missing: {reason(error)}; add it, or give another model"
            ) from None
        if kind is None:
            raise ModelError(
                f"{problem}, which neither transformers {transformers.__version__} nor diffusers "
                f"{diffusers.__version__} has; install the version that the model was saved with, or save it again"
            )


def _is_whole(component: Path) -> bool:
    """Tell whether a component has a config, and the weights or the vocabulary that its kind needs."""
    if component.name.startswith("tokenizer"):
        return any((component / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model"))
    return any(component.glob("*.json")) and (component.name not in NETWORKS or bool(weight_files(component)))


def stored_shapes(component: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's tensors by name, from its files' headers; raise ModelError if one is cut."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(component):
        try:
            with safe_open(path, "pt") as tensors:
                shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"model.base: {str(path)!r} is cut or no safetensors ({error}); save or download the pipeline again"
            ) from error
    return shapes


def weight_files(component: Path) -> list[Path]:
    """List the safetensors that are loaded, without those of a variant (`….fp16.safetensors`)."""
    return [path for path in sorted(component.glob("*.safetensors")) if path.name.count(".") == 1]
