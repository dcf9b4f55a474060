"""Use the Hugging Face hub: find the commit that a branch or tag means now, and upload a folder."""

import logging
import re
from functools import cache
from pathlib import Path

from huggingface_hub import HfApi, constants, is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import get_session, validate_repo_id

from rsidiff_kedro.core.errors import InputError

logger = logging.getLogger(__name__)
SECONDS = 10
"""The longest that the hub is waited for."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


class PushError(InputError):
    """A folder cannot be uploaded."""


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
    try:
        get_session().head(address, timeout=SECONDS)
    except Exception as error:  # its HTTP client differs between versions, and so do its errors
        constants.HF_HUB_OFFLINE = True
        logger.warning(
            f"the model hub {address} does not answer ({type(error).__name__}): only what was downloaded before is used"
        )
        return False
    return True


def pinned(repository: str, revision: str | None = None, kind: str = "model") -> str | None:
    """Return the revision to open a repository in: its commit, or the given one if that is unknown."""
    is_reachable()
    return commit_of(repository, revision, kind) or revision


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
