"""Digests of what computes: a module with all that it imports of this project, the libraries, the shipped weights."""

import ast
import hashlib
import importlib.metadata
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
LIBRARIES = (
    "diffusers",
    "numpy",
    "pandas",
    "peft",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
"""Those that compute."""


@cache
def code_digest(*modules: str) -> str:
    """12 hex digits of the SHA-256 of modules' sources and of all modules of this project that they import.

    Imports are read from the source, wherever they stand in it, so that what a function imports counts too. A module
    that is not of this project has the digest of its name.
    """
    digest = hashlib.sha256()
    for path in sorted({path for module in modules for path in _closure(module)}):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    for module in modules:
        digest.update(b"" if _source(module) else module.encode())
    return digest.hexdigest()[:12]


def _closure(module: str) -> set[Path]:
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        for path in _files(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting.extend(_imports(path))
    return found


def _files(module: str) -> Iterator[Path]:
    """The module's file, and those of the packages that it lies in, which Python runs first."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        path = _source(".".join(parts[:length]))
        if path is not None:
            yield path


def _source(module: str) -> Path | None:
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return None
    place = PACKAGE.joinpath(*parts[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in names if name.split(".")[0] == PACKAGE.name)


@cache
def library_versions() -> dict[str, str]:
    """The installed versions of `LIBRARIES`."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


@cache
def assets_digest() -> str:
    """12 hex digits of the SHA-256 of the networks that come with the package."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.glob("scenes/assets/**/*")):
        if path.is_file():
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
