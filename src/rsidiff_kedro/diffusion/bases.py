"""Find base models: those that come with a package, folders, and ids of the model hub; tell which an adapter has."""

import os
from collections.abc import Sequence
from pathlib import Path

from rsidiff_kedro.core.adapter import Adapter, AdapterError
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import failure, hub_file, is_commit
from rsidiff_kedro.core.locations import Found, Location, is_path, locate
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.provenance.content_digest import content_of

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


LOCATION = Location(revision="revision", shipped=shipped_folder)
"""What `model.base` means."""
_FINGERPRINT = "base_fingerprint"


def base_record(base: str, revision: str | None) -> dict[str, str | None]:
    """Return what an adapter records of its base: what it holds, and its name without a folder's place.

    So the record stays the same when the project or the folder is moved or copied.

    Returns:
        `base_model`; `revision`, of a hub id the commit, or what was given if nobody knows the commit; and
        `base_fingerprint` of a folder or a shipped model, if it has one.
    """
    content = _content(base, revision)
    if base not in BASES and not os.path.isabs(_place(base)):
        return {"base_model": base, "revision": content or revision}
    record: dict[str, str | None] = {"base_model": _name(base), "revision": None}
    return record | ({_FINGERPRINT: content} if content else {})


def check_base(adapter: Adapter, base: str, revision: str | None, name: str) -> None:
    """Raise AdapterError if the adapter was trained on another base, or on other content of it.

    Content decides wherever it is known; a folder may have another place. Else names do, as for older records, which
    have no fingerprint and may name a branch; of these, revisions count if both are given.

    Args:
        adapter: whose record says what it was trained on, see `base_record`.
        base: `model.base`.
        revision: `model.revision`; None for the default branch.
        name: of the adapter, for the message.
    """
    trained_on, trained_revision = adapter.info.get("base_model", base), adapter.info.get("revision")
    content = adapter.info.get(_FINGERPRINT) or (trained_revision if is_commit(trained_revision) else None)
    if content is not None:
        found = _content(base, revision)
        unknown = found is None and base not in BASES and trained_on == _name(base)
        if found != content and not unknown:
            raise AdapterError(f"{name} was trained on {_other(trained_on, content, base, revision, found)}")
        return
    if trained_on != base:
        raise AdapterError(
            f"{name} was trained on the base model {trained_on!r}, but model.base is {base!r}; set "
            f"model.base={trained_on}, or run all rounds again"
        )
    if revision is not None and trained_revision is not None and trained_revision != revision:
        raise AdapterError(
            f"{name} was trained on revision {trained_revision!r} of {base!r}, but model.revision is {revision!r}; set "
            f"model.revision={trained_revision}, or run all rounds again"
        )


def _other(trained_on: str, content: str, base: str, revision: str | None, found: str | None) -> str:
    """Say what an adapter was trained on, what is there instead, and what to do."""
    if trained_on == base and is_commit(content) and is_commit(found):
        return (
            f"the commit {content} of {base!r}, but model.revision {revision or 'null'} is {found} now; set "
            f"model.revision={content}, or run all rounds again"
        )
    cure = f"set model.base={trained_on} and model.revision={content}"
    if trained_on in BASES and _content(trained_on, None) == content:
        cure = f"set model.base={trained_on}"
    elif not is_commit(content):
        cure = "give that model again"
    return (
        f"the base model {trained_on!r} with the content {content}, but model.base is {base!r}"
        f"{f' with {found}' if found else ''}; {cure}, or run all rounds again"
    )


def _content(base: str, revision: str | None) -> str | None:
    return content_of(Found(LOCATION, _place(base), revision), times=False)  # a copy is the same model


def _place(base: str) -> str:
    """Return the absolute path of a folder; a hub id and the name of a shipped model stay as they are."""
    return locate(base, Path.cwd(), LOCATION)


def _name(base: str) -> str:
    """Return the name of a folder without its place; a hub id and the name of a shipped model stay as they are."""
    place = _place(base)
    return Path(os.path.normpath(place)).name if os.path.isabs(place) else base


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
        return Path(hub_file(base, index.name, revision))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model.base: {base!r} is no local folder, and the model hub did not return it ({failure(error)}); "
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
