"""Find a base model's folder; check that it is complete and runs no foreign code, before anything is computed."""

import inspect
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import transformers
from torch import nn

from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.model_configs import absurd_number, leads_elsewhere, names_foreign_code
from rsidiff_kedro.core.untrusted.paths import lies_inside
from rsidiff_kedro.core.untrusted.pointers import POINTER, is_pointer
from rsidiff_kedro.diffusion.bases import ModelError

# Every stage opens models; the libraries' progress bars would hide the stages' own.
transformers.logging.disable_progress_bar()
diffusers.logging.disable_progress_bar()

Classes = dict[str, tuple[str, str]]
"""The library and the class of each component that a pipeline's index names."""
_LIBRARIES = ["diffusers", "transformers", "stable_diffusion"]  # the last is diffusers' name of its safety checker
_CLASS = r"(?!Auto[A-Z])[^\W\d]\w*"  # a class Auto… opens whatever the component's config names


def check_components(folder: Path) -> Classes:
    """Return what a pipeline's index names; nothing for the folder of a single network.

    Raises:
        ModelError: a file asks for foreign code (a component that is no class of diffusers or transformers, or an
            attention kernel from the hub), for files outside of its folder, or for a number that no model has.
    """
    index, classes = folder / "model_index.json", Classes()
    for name, value in (read_object(index) if index.is_file() else {}).items():
        if not isinstance(value, list) or value[:1] == [None]:
            continue
        if not name.isidentifier() or len(value) != 2 or value[0] not in _LIBRARIES or not _matches(_CLASS, value[1]):
            raise ModelError(
                f"model.base: {str(index)!r} names {value!r} as {name}; a component is a class of diffusers or "
                "transformers by its name, and code that comes with a model is not run: give a model without"
            )
        classes[name] = value[0], value[1]
    # No library looks at hidden files, which file managers leave.
    for path in (*folder.glob("[!.]*"), *folder.glob("[!.]*/[!.]*")):
        if not path.is_dir() and not (index.is_file() and _is_unread_link(folder, path)):
            _check_place(folder, path)
        if path.name.endswith(("config.json", "special_tokens_map.json")):
            _check_config(path)
        if path.match("*.safetensors.index*.json"):
            parts_of(path)
    return classes


def left_out(folder: Path, kind: type[Any]) -> dict[str, None]:
    """Return the components that a pipeline was saved without, as arguments of its class's `from_pretrained`."""
    index, known = folder / "model_index.json", inspect.signature(kind.__init__).parameters
    content = read_object(index) if index.is_file() else {}
    return {name: None for name, value in content.items() if name in known and value == [None, None]}


def _is_unread_link(folder: Path, path: Path) -> bool:
    """Tell whether a file of a pipeline's folder is a link to nothing that no library reads.

    Such is a checkpoint of all networks in one file, beside the components, that was deleted from the hub's cache.
    """
    is_beside = path.parent == folder and path.suffix not in ("", ".json")
    return is_beside and path.is_symlink() and not os.path.exists(path)


def _check_place(folder: Path, path: Path) -> None:
    """Raise ModelError if a file is a link out of the model's folder, or is loaded in place of a network's own."""
    if not lies_inside(folder, str(path.relative_to(folder))):
        raise ModelError(
            f"model.base: {str(path)!r} is a link out of the model's folder, or to nothing; put the file itself there"
        )
    if _matches(r"shard-\d+-model-.*", path.name):  # transformers prefers it to model.safetensors
        raise ModelError(
            f"model.base: {str(path)!r} is a part of a distributed checkpoint; remove it, or save it again"
        )


def _check_config(path: Path) -> None:
    config = read_object(path)
    if names_foreign_code(config):
        raise ModelError(
            f"model.base: {str(path)!r} asks for attention of another package or from the hub, and foreign code is not "
            "run; remove its attn_implementation"
        )
    elsewhere = leads_elsewhere(path, config)
    if elsewhere is not None:
        raise ModelError(f"model.base: {str(path)!r} {elsewhere}")
    # A tokenizer's own config may hold 10^30.
    number = absurd_number(config) if path.name in ("config.json", "scheduler_config.json") else None
    if number is not None:
        raise ModelError(f"model.base: {str(path)!r} says {number}, which no model has; save or download it again")


def parts_of(index: Path) -> dict[str, str]:
    """Return the name of the part that holds each tensor, as an index says; raise ModelError if it lies elsewhere."""
    parts = read_object(index).get("weight_map")
    if not isinstance(parts, dict) or not all(_matches(r"\w[\w.-]*\.safetensors", part) for part in parts.values()):
        raise ModelError(f"model.base: {str(index)!r} names parts that are no safetensors beside it; save it again")
    return parts


def _matches(pattern: str, value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of a pipeline, or raise ModelError."""
    check_pointer(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"model.base: {str(path)!r} is not JSON of a pipeline ({error}); save the pipeline again"
        ) from error
    return content


def check_pointer(path: Path) -> None:
    """Raise ModelError if a file of a pipeline is a git-lfs pointer."""
    if is_pointer(path):
        raise ModelError(f"model.base: {str(path)!r} is {POINTER}")


def component_class(name: str, library: str, kind: str) -> type[Any]:
    """Return a component's class, or raise ModelError if its library has none of this name."""
    home, problem = transformers if library == "transformers" else diffusers, f"model.base: {name} is a {kind}"
    try:
        found: Any = getattr(home, kind, None)
        if hasattr(found, "_backends"):  # it stands for a class whose library is missing, and says which
            found()
    except ImportError as error:
        raise ModelError(
            f"{problem}, and a library is missing: {reason(error)}; add it, or give another model"
        ) from None
    if not isinstance(found, type):
        raise ModelError(
            f"{problem}, which {home.__name__} {home.__version__} does not have; install the version that the model "
            "was saved with, or save it again"
        )
    return found


def check_files(folder: Path, classes: Mapping[str, type[Any]]) -> None:
    """Raise ModelError if files of a component are missing, are no JSON, or say what no autoencoder has."""
    missing = [name for name, kind in sorted(classes.items()) if not _is_whole(folder / name, kind)]
    if missing:
        pickles = sorted(path.name for name in missing for path in (folder / name).glob("*.bin"))
        raise ModelError(
            f"model.base: {str(folder)!r} lacks {', '.join(missing)} (a config, for networks safetensors weights and "
            "for tokenizers a vocabulary) that model_index.json names; "
            + (f"{pickles[0]} is a pickle, which can run code and is not opened; " if pickles else "")
            + "save the pipeline, or download it, again"
        )
    for name in sorted(classes):
        for path in sorted((folder / name).glob("[!.]*.json")):
            read_object(path)
    if "vae" in classes:
        _check_latent_scale(folder, classes["vae"])


def config_of(folder: Path, name: str, kind: type[Any]) -> dict[str, Any]:
    """Return a component's config with the defaults of its class."""
    path = folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json")
    defaults = {key: each.default for key, each in inspect.signature(kind.__init__).parameters.items()}
    return defaults | read_object(path)


def _is_whole(component: Path, kind: type[Any]) -> bool:
    """Tell whether a component has a config, and the weights or the vocabulary that its kind needs."""
    if component.name.startswith("tokenizer"):
        return any((component / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model"))
    if not issubclass(kind, nn.Module):
        return any(component.glob("*.json"))
    files = weight_files(component, kind)
    return (component / "config.json").is_file() and bool(files) and all(path.is_file() for path in files)


def weight_index(component: Path, kind: type[Any]) -> Path | None:
    """Return the index of a network that is loaded in parts; None if it is loaded from one file."""
    index, whole = (component / f"{_stem(kind)}.safetensors{ending}" for ending in (".index.json", ""))
    # Where both exist, transformers loads the file, diffusers the parts.
    preferred = whole if issubclass(kind, transformers.PreTrainedModel) else index
    return index if index.is_file() and (preferred == index or not whole.is_file()) else None


def weight_files(component: Path, kind: type[Any]) -> list[Path]:
    """List the safetensors that are loaded, without those of a variant (`….fp16.safetensors`)."""
    index = weight_index(component, kind)
    names = sorted({*parts_of(index).values()}) if index is not None else [f"{_stem(kind)}.safetensors"]
    return [component / name for name in names]


def _stem(kind: type[Any]) -> str:
    return "model" if issubclass(kind, transformers.PreTrainedModel) else "diffusion_pytorch_model"


_LATENT_SCALES = {
    "scaling_factor": (0.01, 100),
    "shift_factor": (-10, 10),
    "latents_mean": (-10, 10),
    "latents_std": (0.01, 100),
}
"""Far from any published: scales between 0.13 (Stable Diffusion XL) and 1.6, shifts below 0.2."""


def _check_latent_scale(folder: Path, kind: type[Any]) -> None:
    """Raise ModelError if latents cannot have the scale, one or one per channel, that an autoencoder's config says."""
    config = config_of(folder, "vae", kind)
    optional = {name for name, each in inspect.signature(kind.__init__).parameters.items() if each.default is None}
    for name, (least, most) in _LATENT_SCALES.items():
        value: Any = config.get(name)
        per_channel = name.startswith("latents_")
        numbers: list[Any] = list(value) if per_channel and isinstance(value, list | tuple) else [value]
        right = all(type(each) in (int, float) and least <= each <= most for each in numbers)
        right = right and (not per_channel or len(numbers) == config.get("latent_channels"))
        if name in config and not right and not (value is None and name in optional):
            raise ModelError(
                f"model.base: {str(folder / 'vae' / 'config.json')!r} says {name} = {repr(value)[:40]}; it is a number "
                f"between {least:g} and {most:g}{' for each latent channel' if per_channel else ''}: put in that of "
                "the model"
            )
