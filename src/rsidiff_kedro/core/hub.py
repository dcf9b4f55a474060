"""Use the Hugging Face hub: find the commit that a branch or tag means now, download, and upload a folder."""

import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, is_offline_mode, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import get_session, validate_repo_id

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.network import client_problem

logger = logging.getLogger(__name__)
SECONDS = 10
"""The longest that the hub is waited for."""
_NO_CLIENT: dict[str, str] = {}
"""Why the hub at an address could not be asked at all, by the address."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


class PushError(InputError):
    """A folder cannot be uploaded."""


class NoClientError(OSError):
    """A file was not downloaded before, and cannot be now, because of proxies or certificates; the message names them.

    It is of the base class of the errors that the hub's client raises itself.
    """


@cache
def commit_of(repository: str, revision: str | None = None, kind: str = "model") -> str | None:
    """Return the commit of a revision (None: the main branch), as the hub says or, without it, the hub's cache.

    The answer is kept: whatever this process opens of a repository has one commit. `commit_of.cache_clear()` asks
    again. None means that neither knows it; what opens the repository then says why.

    Args:
        repository: id on the hub, `owner/name`.
        revision: branch, tag or commit.
        kind: "model" or "dataset".
    """
    if is_commit(revision):
        return revision
    if is_reachable():
        try:
            found = HfApi().repo_info(repository, revision=revision, repo_type=kind, timeout=SECONDS).sha
        except Exception:  # its HTTP client differs between versions, and so do its errors; the cache is asked next
            found = None
        if found is not None:
            return found
    try:
        folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind)
        kept = (folder / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return kept if is_commit(kept) else None


def is_commit(revision: object) -> bool:
    """Tell a commit from a branch, a tag, or anything else."""
    return isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None


def is_reachable() -> bool:
    """Tell whether the hub answers; if not, work offline from now on, where its client would retry for a minute a file.

    With HF_HUB_OFFLINE set nothing is asked.
    """
    return not is_offline_mode() and _answers(constants.ENDPOINT)


@cache
def _answers(address: str) -> bool:
    failed = None
    try:
        client = get_session()
    except Exception as error:  # its HTTP client differs between versions, and so do its errors
        failed = _NO_CLIENT[address] = client_problem(error)
    else:
        try:
            client.head(address, timeout=SECONDS)
        except Exception as error:
            failed = type(error).__name__
    if failed is not None:
        constants.HF_HUB_OFFLINE = True
        logger.warning(f"the model hub {address} does not answer ({failed}): only what was downloaded before is used")
    return failed is None


def pinned(repository: str, revision: str | None = None, kind: str = "model") -> str | None:
    """Return the revision to open a repository in: its commit, or the given one if that is unknown."""
    is_reachable()
    return commit_of(repository, revision, kind) or revision


def hub_file(repository: str, name: str, revision: str | None = None, kind: str = "model", **options: Any) -> Any:
    """Return what `hf_hub_download` does for a file of a repository, at its commit; see `_download`."""
    return _download(hf_hub_download, repository, revision, kind, filename=name, **options)


def hub_folder(
    repository: str, revision: str | None = None, patterns: list[str] | None = None, kind: str = "model"
) -> str:
    """Return the local folder of a repository's files that match patterns, at its commit; see `_download`."""
    return str(_download(snapshot_download, repository, revision, kind, allow_patterns=patterns))


def _download(load: Callable[..., Any], repository: str, revision: str | None, kind: str, **options: Any) -> Any:
    """Download from the hub or, without it, read its cache, for which no HTTP client is made.

    Raises:
        OSError, ValueError: base classes of what the client raises.
        NoClientError: the cache lacks it, and no client can be made.
    """
    commit = pinned(repository, revision, kind)  # goes offline if the hub does not answer
    try:
        return load(repository, revision=commit, repo_type=kind, local_files_only=is_offline_mode(), **options)
    except LocalEntryNotFoundError as error:
        if constants.ENDPOINT in _NO_CLIENT:
            raise NoClientError(_NO_CLIENT[constants.ENDPOINT]) from error
        raise


def failure(error: Exception) -> str:
    """Name an error of a download: by its type, or by its message if that is this project's."""
    return str(error) if isinstance(error, NoClientError) else type(error).__name__


def is_cached(repository: str, kind: str = "model") -> bool:
    """Tell whether the hub's cache holds anything of a repository."""
    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind)
    return any(folder.glob("snapshots/*/*"))


def check_repository(repository: str) -> None:
    """Raise PushError unless a name is `owner/name` as the hub allows it."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise PushError(f"{repository!r} is no repository ({error}); give owner/name") from error
    if repository.count("/") != 1:
        raise PushError(f"{repository!r} names no owner; give owner/name")


def push_folder(folder: Path, repository: str) -> str:
    """Upload a folder to a repository on the hub, a new private one if there is none, and return its address.

    Raises:
        PushError: the hub is out of reach or refuses.
    """
    check_repository(repository)
    api = HfApi()
    try:
        address = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload an adapter of rsidiff_kedro")
    except Exception as error:  # the HTTP client differs between versions, and so do its errors
        reason = " ".join(str(error).split())[:300]
        raise PushError(
            f"{folder} is complete, but was not uploaded to {repository} ({type(error).__name__}: {reason}); log in "
            f"with `hf auth login`, or upload it with `hf upload {repository} {folder}`"
        ) from error
    return str(address)
