"""Use the Hugging Face hub: find the commit that a branch or tag means now, download, and upload a folder."""

import glob
import logging
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from huggingface_hub import (
    HfApi,
    constants,
    get_cached_repo_tree,
    hf_hub_download,
    is_offline_mode,
    snapshot_download,
)
from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import get_session, validate_repo_id

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.core.network import client_problem

logger = logging.getLogger(__name__)
SECONDS = 10
"""The longest that the hub is waited for."""
_NO_CLIENT: dict[str, str] = {}
"""Why the hub at an address could not be asked at all, by the address."""
_UNNAMED: dict[tuple[str, str | None, str], str] = {}
"""What the hub said that a branch or tag is, until the hub's cache names it so; see `name_commit`."""
_ASKED: set[tuple[str, str | None, str]] = set()
"""Repositories, revisions and kinds whose commits this process has asked for."""
_GIVEN: dict[tuple[str, str | None, str], str] = {}
"""Commits that another process has found, and that are opened here too."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MAIN = constants.DEFAULT_REVISION


class PushError(InputError):
    """A folder cannot be uploaded."""


class NotKeptError(OSError):
    """A file was not downloaded before, and cannot be now.

    The message names the proxies or certificates that keep the hub away, or the commits that the hub's cache holds.
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
    _ASKED.add((repository, revision, kind))
    if (repository, revision, kind) in _GIVEN:
        return _GIVEN[repository, revision, kind]
    failed = None
    if is_reachable():
        try:
            found = HfApi().repo_info(repository, revision=revision, repo_type=kind, timeout=SECONDS).sha
        except Exception as error:  # its HTTP client differs between versions, and so do its errors
            failed = type(error).__name__
        else:
            if found is not None and is_commit(found):
                _UNNAMED[repository, revision, kind] = found
                name_commit(repository, revision, kind)
                return found
            failed = f"it named {found!r}"
    kept = _named_commit(repository, revision, kind)
    if kept is not None and failed is not None:
        logger.warning(
            f"the model hub did not say which commit {revision or _MAIN!r} of {repository} is ({failed}): {kept} is "
            "read, as the hub's cache says"
        )
    return kept


def known_commits() -> dict[tuple[str, str | None, str], str]:
    """Return the commits that this process has asked for, by repository, revision and kind, for `take_commits`."""
    return {each: commit for each in sorted(_ASKED, key=str) if (commit := commit_of(*each)) is not None}


def take_commits(commits: Mapping[tuple[str, str | None, str], str]) -> None:
    """Open these commits from now on, as the process does that has found them, wherever the branch is by then."""
    _GIVEN.clear()
    _GIVEN.update(commits)
    commit_of.cache_clear()


def name_commit(repository: str, revision: str | None = None, kind: str = "model") -> None:
    """Write into the hub's cache which commit a branch or tag is, as the hub has said in this process.

    What is downloaded by its commit is found without the network by this name alone. It is written once, when the
    cache holds files of the commit: until then the earlier name leads to what can be read. A cache that cannot be
    written is left as it is, with a warning.
    """
    commit = _UNNAMED.get((repository, revision, kind))
    if commit is None or commit not in _kept_commits(repository, kind):
        return
    _UNNAMED.pop((repository, revision, kind), None)
    if commit == _named_commit(repository, revision, kind):
        return
    path = _folder(repository, kind) / "refs" / (revision or _MAIN)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=False) as written:
            written.write_text(commit, encoding="utf-8")
    except OSError as error:
        logger.warning(
            f"{path} cannot be written ({error.strerror}): without the network, {revision or _MAIN!r} of {repository} "
            f"is not found there, or an earlier commit of it; {commit} is read now"
        )


def _named_commit(repository: str, revision: str | None, kind: str) -> str | None:
    """Return the commit that a branch or tag is in the hub's cache; None if it names none."""
    try:
        kept = (_folder(repository, kind) / "refs" / (revision or _MAIN)).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return kept if is_commit(kept) else None


def _kept_commits(repository: str, kind: str) -> list[str]:
    """Return the commits of which the hub's cache holds files."""
    return sorted({path.parent.name for path in _folder(repository, kind).glob("snapshots/*/*")})


def _folder(repository: str, kind: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type=kind)


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
    """Return what `hf_hub_download` does for a file of a repository, at its commit; see `downloaded`."""
    return downloaded(partial(hf_hub_download, filename=name, repo_type=kind, **options), repository, revision, kind)


def hub_folder(
    repository: str, revision: str | None = None, patterns: list[str] | None = None, kind: str = "model"
) -> str:
    """Return the local folder of a repository's files that match patterns, at its commit; see `downloaded`."""
    load = partial(snapshot_download, allow_patterns=patterns, repo_type=kind)
    return str(downloaded(load, repository, revision, kind))


def keep_names(repository: str, name: str, revision: str | None = None, kind: str = "model") -> None:
    """Download a file, and write the names of all files of its commit into the hub's cache, for `kept_files`."""
    hub_folder(repository, revision, [glob.escape(name)], kind)


def kept_files(
    repository: str, revision: str | None = None, kind: str = "model"
) -> tuple[Path, tuple[str, ...] | None]:
    """Return, without the hub, the folder of a commit's files in its cache, and the names of all that the commit has.

    The folder may lack any of these files. The names are None if the cache does not know them; it does where
    `keep_names` or the hub's client has downloaded a whole repository.

    Raises:
        OSError: the cache has no file of the commit.
    """

    def find(repository: str, revision: str | None, local_files_only: bool) -> Path:
        folder = _folder(repository, kind) / "snapshots" / (revision or _MAIN)
        if not folder.is_dir():
            raise LocalEntryNotFoundError(f"Couldn't reach {repository!r}, of which the hub's cache has no file")
        return folder

    folder = downloaded(find, repository, revision, kind)
    try:
        listed = get_cached_repo_tree(repository, repo_type=kind, revision=folder.name)
    except CachedRepoTreeNotFoundError:
        return folder, None
    return folder, tuple(each.path for each in listed)


def downloaded(load: Callable[..., Any], repository: str, revision: str | None = None, kind: str = "model") -> Any:
    """Return what a function downloads from the hub or, without it, reads in its cache, with no HTTP client.

    Args:
        load: takes a repository, `revision` and `local_files_only`.
        repository: id on the hub, `owner/name`.
        revision: branch, tag or commit, of which `load` gets the commit.
        kind: "model" or "dataset".

    Raises:
        OSError, ValueError: base classes of what the client raises.
        NotKeptError: the cache lacks it, and no client can be made, or the cache holds other commits.
    """
    commit = pinned(repository, revision, kind)  # goes offline if the hub does not answer
    try:
        found = load(repository, revision=commit, local_files_only=is_offline_mode())
    except LocalEntryNotFoundError as error:
        reason = _NO_CLIENT.get(constants.ENDPOINT) or _other_commits(repository, revision, kind)
        if reason is not None:
            raise NotKeptError(reason) from error
        raise
    name_commit(repository, revision, kind)
    return found


def _other_commits(repository: str, revision: str | None, kind: str) -> str | None:
    """Say without the hub which commits its cache holds, where the wanted one is not known or lacks a file."""
    commit = commit_of(repository, revision, kind)
    others = [each for each in _kept_commits(repository, kind) if each != commit]
    if not others or not is_offline_mode():
        return None
    said = f"does not say which commit {revision or _MAIN!r} is"
    if commit is not None:
        said = f"lacks it at the commit {commit}{f', which is {revision or _MAIN!r}' if commit != revision else ''}"
    return (
        f"the hub's cache {said}, and has files of {', '.join(others)}; run once with the network, or give such a "
        "commit as the revision"
    )


def failure(error: Exception) -> str:
    """Name an error of a download: by its type, or by its message if that is this project's."""
    return str(error) if isinstance(error, NotKeptError) else type(error).__name__


def is_cached(repository: str, kind: str = "model") -> bool:
    """Tell whether the hub's cache holds anything of a repository."""
    return bool(_kept_commits(repository, kind))


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
