"""Digest files and folders: those that a parameter names, and those that a step saved."""

import hashlib
import os
import re
from pathlib import Path

RUN_FACTS = re.compile(rb"<!--run-->.*?<!--/run-->", re.DOTALL)
"""Part of a page about the run that made it, such as its times; it differs between runs of the same results."""

PRUNED = "pruned.txt"
"""Marks a folder whose large files `kedro rsi prune` has deleted."""


def fingerprint(path: Path, small: int = 64_000_000) -> str:
    """Return 12 hex digits for the content of a file or a folder.

    Files of up to `small` bytes count by their content, larger ones by size and time of change. So do all files in a
    folder, which may be a network of gigabytes. Links are followed.
    """
    digest = hashlib.sha256()
    if path.is_file() and path.stat().st_size <= small:
        digest.update(path.read_bytes())
    else:
        for file in _files(path):
            stat = file.stat()
            digest.update(_line(file.relative_to(path), f"{stat.st_size} {stat.st_mtime_ns}"))
    return digest.hexdigest()[:12]


def content_digest(path: Path) -> str:
    """Return 16 hex digits of the SHA-256 of every byte of a file, or of a folder's files with their names.

    Hidden files in a folder, which file managers leave, do not count, nor do `PRUNED` and `RUN_FACTS` of an HTML page.
    """
    digest = hashlib.sha256()
    for file in _files(path):
        if file == path or not (file.name.startswith(".") or file.name == PRUNED):
            digest.update(_line(file.relative_to(path), _sha256(file)))
    return digest.hexdigest()[:16]


def _sha256(file: Path) -> str:
    if file.suffix == ".html":
        return hashlib.sha256(RUN_FACTS.sub(b"", file.read_bytes())).hexdigest()
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _line(path: Path, value: str) -> bytes:
    return f"{path.as_posix()} {value}\n".encode(errors="surrogateescape")


def _files(path: Path) -> list[Path]:
    """List a file, or all files in a folder and in the folders that its links lead to."""
    if path.is_file():
        return [path]
    found, followed = list[Path](), {os.path.realpath(path)}
    for folder, names, files in os.walk(path, followlinks=True):
        for name in list(names):  # a link may lead back to where it lies
            link = os.path.join(folder, name)
            if os.path.islink(link):
                target = os.path.realpath(link)
                if target in followed:
                    names.remove(name)
                followed.add(target)
        found += (Path(folder, name) for name in files)
    return sorted(each for each in found if each.is_file())
