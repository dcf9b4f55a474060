"""Find the files of preference models, without the libraries that compute.

A source is a local file, a local folder that holds the official file, or a Hugging Face id (read from the hub's cache
first).
"""

import hashlib
import os
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from huggingface_hub import _CACHED_NO_EXIST, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import failure, hub_file, pinned
from rsidiff_kedro.core.locations import Location, expand, is_path
from rsidiff_kedro.core.untrusted.pointers import POINTER, is_pointer

CONFIG_FILE = "config.json"
"""Of transformers: part of a model in its format, or next to a `.pt` of another size than the official one."""
MED_CONFIG_FILE = "med_config.json"
"""Of the official package of ImageReward, next to its `.pt`."""
OFFICIAL_FILES = ("HPS_v2.1_compressed.pt", "HPS_v2_compressed.pt", "ImageReward.pt", "aesthetic-model.pth")
"""Names that say which model's weights a file holds."""
PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"
"""Of transformers: how images are prepared. The second, of newer versions, has a section `image_processor`."""
_TOKENIZER = ("tokenizer*.json", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json")
SAVE_WHOLE = "save the model in one file, by `save_pretrained` with a max_shard_size above its size"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")
_PART = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.")
"""As libraries name the parts of a checkpoint; `-00001-of-00001` is whole."""
_CONFIGS = (CONFIG_FILE, PREPROCESSOR_FILE, PROCESSOR_FILE)
_CHECKPOINT = Location(revision="revision", beside=(*_CONFIGS, MED_CONFIG_FILE))
Checkpoint = Annotated[str, _CHECKPOINT]
"""A file, a folder with the official file, or a Hugging Face id, whose revision is the setting `revision`."""
CheckpointWithTokenizer = Annotated[
    str, replace(_CHECKPOINT, beside_too=lambda section: () if section.tokenizer else _TOKENIZER)
]
"""A checkpoint that is read with its own tokenizer where the setting `tokenizer` names none."""
Clip = Annotated[str, Location(beside=_CONFIGS)]
"""A CLIP model: a file, a folder, or a Hugging Face id of which the main branch is read."""
Tokenizer = Annotated[str, Location(beside=_TOKENIZER)]
"""A folder, a file in it, or a Hugging Face id of which the main branch is read."""


class CheckpointError(InputError):
    """A checkpoint or tokenizer of a preference model that cannot be used."""


def fetch(source: str, file_name: str, revision: str | None = None) -> Path:
    """Return a source's file; download it from the hub unless it is local or cached.

    Raises:
        CheckpointError: the file does not exist.
    """
    return _local_file(source, file_name) or Path(_ask_hub(source, file_name, revision))


def check_source(source: str, file_name: str, revision: str | None = None) -> Path | None:
    """Return a source's file, or None if it has yet to be downloaded; same errors as `fetch`."""
    path = _local_file(source, file_name)
    if path is not None:
        return path
    found = _ask_hub(source, file_name, revision, dry_run=True)
    return Path(found.local_path) if found.is_cached else None


def fetch_if_any(source: str, file_name: str, revision: str | None = None) -> Path | None:
    """Return a file that a source may have, beside a local file or in a folder or repository; None if it has none.

    Raises:
        CheckpointError: neither the hub nor its cache says whether there is such a file.
    """
    path = expand(source)
    if os.path.exists(path):
        found = (path if os.path.isdir(path) else path.parent) / file_name
        return found if found.is_file() else None
    try:
        return Path(_ask_hub(source, file_name, revision))
    except CheckpointError as error:
        cause = error.__cause__
        if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
            return None
        if try_to_load_from_cache(source, file_name, revision=pinned(source, revision)) is _CACHED_NO_EXIST:
            return None  # the hub said so before
        raise


def check_pointer(path: Path) -> None:
    """Raise CheckpointError if a file is a git-lfs pointer."""
    if is_pointer(path):
        raise CheckpointError(f"{str(path)!r} is {POINTER}")


def _local_file(source: str, file_name: str) -> Path | None:
    path = expand(source)
    if os.path.isfile(path):  # pathlib raises an error if a path is too long
        if path.name in OFFICIAL_FILES and path.name != file_name:
            raise CheckpointError(
                f"{source!r} has the name of another model's official file, and {file_name} is read here; give the "
                "right file, a folder that holds it, or a Hugging Face id (owner/name)"
            )
        return path
    if os.path.isdir(path):
        if (path / file_name).is_file():
            return path / file_name
        names = sorted(each.name for each in path.iterdir())
        advice = _advice_on_weights(source, names) if file_name.endswith(_WEIGHTS) else ""
        present = ", ".join(names[:10]) or "nothing"
        raise CheckpointError(f"the folder {source!r} has no {file_name}; there are: {present}{advice}")
    if is_path(source):
        raise CheckpointError(
            f"there is no {source!r}; give a file, a folder that holds {file_name}, or a Hugging Face id (owner/name)"
        )
    return None


def _advice_on_weights(folder: str, names: list[str]) -> str:
    """Say to name a file of weights whose name is not the official one, if there is one.

    Raises:
        CheckpointError: by their names the files of weights are parts alone.
    """
    weights = [name for name in names if name.endswith(_WEIGHTS) and name not in OFFICIAL_FILES]
    if weights and all(map(is_part, weights)):
        raise CheckpointError(
            f"{folder!r} holds by its files' names parts of a checkpoint ({weights[0]}), and only whole ones are read; "
            f"{SAVE_WHOLE}"
        )
    return f"; if {weights[0]} is it, give that file's path" if weights else ""


def is_part(file_name: str) -> bool:
    """Tell whether a name is that of one of several parts of a checkpoint; a whole one may have it too."""
    return _PART.search(file_name) is not None


def _ask_hub(source: str, file_name: str, revision: str | None, **options: Any) -> Any:
    try:
        return hub_file(source, file_name, revision, **options)
    except (OSError, ValueError) as error:  # base classes of huggingface_hub's errors
        raise CheckpointError(
            f"{source!r} is no local file or folder, and the model hub did not give its {file_name} "
            f"({failure(error)}); check the id and revision {revision!r}, HF_HUB_OFFLINE and the network, "
            "or give the file's path"
        ) from error


def describe(checkpoint: str, revision: str | None, path: Path) -> dict[str, Any]:
    """Return what a score's record says of a checkpoint: source, revision, path, size in bytes and SHA-256."""
    size = path.stat().st_size
    sha256 = _sha256(str(path.resolve()), size, path.stat().st_mtime_ns)
    return {"checkpoint": checkpoint, "revision": revision, "file": str(path), "bytes": size, "sha256": sha256}


@lru_cache(maxsize=32)
def _sha256(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
