"""Find a base model's folder and check that it is complete and runs no foreign code, before anything is computed."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.core.untrusted.model_configs import absurd_size, names_foreign_code

BASES = Registry("shipped model", "rsidiff_kedro.bases", {"scenes": "rsidiff_kedro.scenes:BASE_FOLDER"})
"""Models that come with a package: `model.base` may name one."""
NETWORKS = {"unet", "vae", "text_encoder", "transformer", "text_encoder_2", "text_encoder_3"}
"""Components of a pipeline that have weights."""
_LIBRARIES = ["diffusers", "transformers", "stable_diffusion"]
"""Libraries whose classes a pipeline's components may be; the last is diffusers' name for its safety checker."""
_BY_CONFIG = re.compile(r"Auto[A-Z]\w*")
"""Classes that open whatever a component's config names."""


class ModelError(InputError):
    """A base model cannot be used."""


def model_source(base: str) -> str:
    """Return the folder or hub id that `model.base` names."""
    if base in BASES:
        return str(BASES.load(base))
    return os.path.expanduser(base) if is_folder_name(base) else base


def is_folder_name(base: str) -> bool:
    """Tell a path from a hub id (`owner/name`)."""
    return base.startswith((".", "/", "~")) or base.count("/") != 1 or os.path.exists(base)


def check_source(
    base: str,
    revision: str | None,
    class_name: str,
    components: frozenset[str],
    left_out: frozenset[str],
    families: Mapping[str, str],
) -> None:
    """Raise ModelError unless the base model exists and is a pipeline of this class with these components.

    Args:
        base: as `model.base`.
        revision: of a hub id.
        class_name: the diffusers pipeline of the family that is set.
        components: what the pipeline must have.
        left_out: components that a model may have and that are not loaded.
        families: the family's name by pipeline class, for the message.
    """
    source = model_source(base)
    folder = Path(source)
    if os.path.isdir(source):
        index = folder / "model_index.json"
        if not index.is_file():
            raise ModelError(
                f"model.base: {source!r} has no model_index.json, so it is no diffusers pipeline; "
                "give the folder that save_pretrained wrote"
            )
    elif base in BASES or is_folder_name(base):
        raise ModelError(
            f"model.base: there is no folder {source!r}; give a folder that save_pretrained wrote, "
            f"a Hugging Face model id, or a shipped model ({', '.join(BASES.names)})"
        )
    else:
        index = _download_index(base, revision)
    named = _read_index(index, base, class_name, components, families)
    check_components(index.parent)
    if os.path.isdir(source) or is_offline_mode():
        _check_files(index.parent, named - left_out)


def _download_index(base: str, revision: str | None) -> Path:
    try:
        return Path(hf_hub_download(base, "model_index.json", revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"model.base: {base!r} is no local folder, and the model hub did not give it ({type(error).__name__}); "
            f"check the id and revision {revision!r}, log in with `hf auth login` if its licence must be accepted, or "
            "give a local folder"
        ) from error


def _read_index(
    index: Path, base: str, class_name: str, components: frozenset[str], families: Mapping[str, str]
) -> set[str]:
    """Return the components that the pipeline's index names."""
    entries = _read_object(index)
    found = str(entries.get("_class_name"))
    if found != class_name and found in families:
        raise ModelError(f"model.base: {base!r} is a {found}; set model.family={families[found]}")
    named = {name for name, value in entries.items() if isinstance(value, list) and value and value[0] is not None}
    if not named >= components:
        raise ModelError(
            f"model.base: {str(index)!r} names no {', '.join(sorted(components - named))}; a {class_name} has them: "
            "save the pipeline again"
        )
    return named


def component_class(folder: Path, component: str) -> str:
    """Return the class name of a component, as the pipeline's index says; `check_components` comes first."""
    return str(_read_object(folder / "model_index.json")[component][1])


def check_components(folder: Path) -> None:
    """Raise ModelError if files of a model's folder ask for foreign code, or for weights outside of the folder.

    Every component must be a class of diffusers or transformers, so no module beside it is imported. Attention
    kernels are not fetched from the hub. The parts of sharded weights are safetensors beside their index.
    """
    for index in filter(Path.is_file, [folder / "model_index.json"]):
        for name, value in _read_object(index).items():
            if not isinstance(value, list) or value[:1] == [None]:
                continue
            if len(value) != 2 or value[0] not in _LIBRARIES or not _is_class(value[1]):
                raise ModelError(
                    f"model.base: {str(index)!r} names {value!r} as {name}; a component is a class of diffusers or "
                    "transformers by its name, and code that comes with a model is not run: give a model without"
                )
    for config in [*folder.glob("*config.json"), *folder.glob("*/*config.json")]:
        if names_foreign_code(_read_object(config)):
            raise ModelError(
                f"model.base: {str(config)!r} asks for an attention kernel from the hub, and foreign code is not run; "
                "remove its attn_implementation"
            )
    for config in [*folder.glob("*/config.json"), *folder.glob("*/scheduler_config.json")]:
        size = absurd_size(_read_object(config))
        if size is not None:
            raise ModelError(f"model.base: {str(config)!r} says {size}, which no model has; save or download it again")
    for index in [*folder.glob("*.safetensors.index*.json"), *folder.glob("*/*.safetensors.index*.json")]:
        parts = _read_object(index).get("weight_map")
        if not isinstance(parts, dict) or not all(_is_part(part) for part in parts.values()):
            raise ModelError(f"model.base: {str(index)!r} names parts that are no safetensors beside it; save it again")


def _is_class(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not _BY_CONFIG.fullmatch(name)


def _is_part(name: Any) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[\w.-]+\.safetensors", name) is not None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"model.base: {str(path)!r} is not JSON of a pipeline ({error}); save the pipeline again"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"model.base: {str(path)!r} is not JSON of a pipeline (no object); save the pipeline again")
    return content


def _check_files(folder: Path, named: set[str]) -> None:
    missing = sorted(name for name in named if not _is_whole(folder / name))
    if missing:
        raise ModelError(
            f"model.base: {str(folder)!r} lacks {', '.join(missing)} (a config, for networks safetensors weights and "
            "for tokenizers a vocabulary) that model_index.json names; save the pipeline, or download it, again"
        )
    for component in sorted(named):
        _check_readable(folder / component)


def _check_readable(component: Path) -> None:
    """Raise ModelError if a component's JSON is broken or its weights are cut; only their headers are read."""
    for path in (*sorted(component.glob("*.json")), *weight_files(component)):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            else:
                with safe_open(path, "pt"):
                    pass
        except (OSError, ValueError, SafetensorError) as error:
            kind = "JSON" if path.suffix == ".json" else "safetensors"
            raise ModelError(
                f"model.base: {str(path)!r} is cut or no {kind} ({error}); save the pipeline, or download it, again"
            ) from error


def _is_whole(component: Path) -> bool:
    """Check that a component has a config, and the weights or the vocabulary that its kind needs."""
    if component.name in NETWORKS:
        return any(component.glob("*.json")) and bool(weight_files(component))
    if component.name.startswith("tokenizer"):
        vocabularies = ("tokenizer.json", "vocab.json", "spiece.model")
        return any((component / name).is_file() for name in vocabularies)
    return any(component.glob("*.json"))


def stored_shapes(component: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's stored tensors by name, from the headers of its files."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(component):
        with safe_open(path, "pt") as tensors:
            shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return shapes


def weight_files(component: Path) -> list[Path]:
    """List the safetensors that are loaded, without those of a variant (`….fp16.safetensors`)."""
    return [path for path in sorted(component.glob("*.safetensors")) if re.fullmatch(r"[^.]+\.safetensors", path.name)]
