"""Find base models: those that come with a package, folders, and ids of the model hub."""

import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_download

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import pinned
from rsidiff_kedro.core.locations import is_path, locate
from rsidiff_kedro.core.registry import Registry

BASES = Registry(
    "shipped model",
    "rsidiff_kedro.bases",
    {"scenes": "rsidiff_kedro.scenes:BASE_FOLDER", "scenes_sd3": "rsidiff_kedro.scenes:SD3_BASE_FOLDER"},
)
"""Models that come with a package: `model.base` may name one."""
BASE_PROMPTS = Registry(
    "shipped model",
    "rsidiff_kedro.base_prompts",
    dict.fromkeys(("scenes", "scenes_sd3"), "rsidiff_kedro.scenes.world.grammar:has_known_words"),
)
"""Functions that tell whether a shipped model was trained on such prompts; a model without one reads any text."""


class ModelError(InputError):
    """A base model cannot be used."""


def model_source(base: str) -> str:
    """Return the folder or hub id that `model.base` names."""
    return str(shipped_folder(base) or locate(base))


def shipped_folder(base: str) -> Path | None:
    """Return the folder of a shipped model, None for any other."""
    return Path(BASES.load(base)) if base in BASES else None


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
    if base in BASES or is_path(base):
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


def check_known(base: str, prompts: Sequence[str]) -> None:
    """Raise ModelError if most of the prompts are none that a shipped model was trained on."""
    if base not in BASE_PROMPTS:
        return
    is_known = BASE_PROMPTS.load(base)
    unknown = [prompt for prompt in prompts if not is_known(prompt)]
    if 2 * len(unknown) > len(prompts):
        raise ModelError(
            f"model.base: {base!r} was trained on prompts of its own kind alone, and {len(unknown)} of {len(prompts)} "
            f"are of no such kind ({unknown[0][:60]!r} first); use another base, or the prompts that belong to it"
        )
