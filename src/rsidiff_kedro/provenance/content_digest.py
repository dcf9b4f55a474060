"""Digests of files and folders: of what a parameter names, and of what a step saved."""

import hashlib
from pathlib import Path


def fingerprint(path: Path, small: int = 64_000_000) -> str:
    """Return 12 hex digits for what a file or a folder holds.

    Files of up to `small` bytes count by their content, larger ones by size and time of change. So do all files in a
    folder, which may be a network of gigabytes.
    """
    digest = hashlib.sha256()
    if path.is_file() and path.stat().st_size <= small:
        digest.update(path.read_bytes())
    else:
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        for file in files:
            stat = file.stat()
            digest.update(f"{file.relative_to(path)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def content_digest(path: Path) -> str:
    """Return 16 hex digits of the SHA-256 of every byte of a file, or of a folder's files with their names.

    Hidden files in a folder, which file managers leave, do not count.
    """
    digest = hashlib.sha256()
    files = (each for each in path.rglob("*") if each.is_file() and not each.name.startswith("."))
    for file in [path] if path.is_file() else sorted(files):
        with file.open("rb") as opened:
            part = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.relative_to(path).as_posix()} {part}\n".encode())
    return digest.hexdigest()[:16]
