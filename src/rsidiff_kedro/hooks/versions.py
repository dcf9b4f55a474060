"""Give each run a version of its own: a version is a time stamp, and runs that start together would share one."""

import atexit
import logging
import os
import stat
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from kedro.io.core import generate_timestamp

logger = logging.getLogger(__name__)
_ABANDONED = 86_400
"""Seconds after which what a killed run claimed is removed."""


def own_version(project: Path, version: str) -> str:
    """Return the version, or a later one if a run of this user in this project on this machine has it already."""
    try:
        folder = _folder(project)
        while not _claim(folder, version):
            time.sleep(0.002)
            version = generate_timestamp()
    except OSError as error:  # no run fails of it: runs that start in one millisecond are rare
        logger.info("No version is claimed (%s).", error)
    return version


def _claim(folder: Path, version: str) -> bool:
    """Claim a version until this process ends; tell whether it was free."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / version).touch(exist_ok=False)
    except (FileExistsError, FileNotFoundError):  # the latter if another run, the last one, has just removed the folder
        return False
    atexit.register(_release, folder / version)
    return True


def _folder(project: Path) -> Path:
    """Return the project's folder in this user's own folder of claims, without what killed runs have left there.

    Raises:
        OSError: the user's folder cannot be made, or somebody else has made it.
    """
    user = os.getuid() if hasattr(os, "getuid") else 0
    own = Path(tempfile.gettempdir()) / f"rsidiff_kedro_{user}"
    own.mkdir(mode=0o700, exist_ok=True)
    found = own.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user:
        raise PermissionError(f"{own} belongs to another user")
    for claim in own.glob("*/*Z"):
        with suppress(OSError):
            if time.time() - claim.stat().st_mtime > _ABANDONED:
                _release(claim)
    return own / sha256(os.fsencode(project.resolve())).hexdigest()[:16]


def _release(claim: Path) -> None:
    """Remove a claim, and its folder if it was the last."""
    with suppress(OSError):
        claim.unlink()
        claim.parent.rmdir()
        claim.parent.parent.rmdir()
