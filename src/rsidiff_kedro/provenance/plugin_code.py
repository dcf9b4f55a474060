"""Read the code of plug-ins from outside this project: whole modules, and all that they import and is not installed.

A plug-in may fill a table when it is imported, or make a name in any way, so no part of its modules is left out.
Nothing of it is executed.
"""

import ast
import hashlib
import importlib.util
import sysconfig
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import NamedTuple

from rsidiff_kedro.provenance.syntax import Place, read_source

PACKAGE = Path(__file__).parents[1].name
_SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
"""In the order in which Python looks for a module's file."""
_INSTALLED = {"site-packages", "dist-packages"}
_PYTHONS = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}


class Plugin(NamedTuple):
    """The code of a plug-in.

    Attributes:
        sources: by module, without comments and layout; a package that names its `__path__` has its whole folder.
        imported: what these modules import, wherever it lies.
    """

    sources: dict[str, str]
    imported: frozenset[Place]


def read_plugin(module: str) -> Plugin:
    """Read a plug-in's module, the packages around it, and what these import, directly or through others."""
    sources: dict[str, str] = {}
    imported: set[Place] = set()
    waiting, seen = [module], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _source_of(name, owner=module.partition(".")[0])
        if path is None:
            continue
        waiting.append(name.rpartition(".")[0])
        sources[name], found = _read(path, name)
        if path.name == "__init__.py" and b"__path__" in path.read_bytes():
            sources |= {f"{name}: {each.relative_to(path.parent)}": _read(each, name)[0] for each in _files(path)}
        imported |= found
        waiting += [part for each in found for part in (each.module, f"{each.module}.{each.name}") if part.strip(".")]
    return Plugin(sources, frozenset(imported))


def is_own(module: str) -> bool:
    """Tell whether a module is a user's own: not of this project, not Python's, not installed."""
    return _source_of(module, owner="") is not None


def _source_of(module: str, owner: str) -> Path | None:
    """Return a module's file; None for this project, Python's own modules, and installed ones but the plug-in's.

    The finder is asked for the top level only, because for others it would execute the packages around them.
    """
    top, *rest = module.split(".")
    if not top or top == PACKAGE:
        return None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    folders = [Path(each) for each in spec.submodule_search_locations or ()]
    if not folders:
        found = [Path(spec.origin)] if spec.origin and not rest else []
    else:
        stems = [stem for folder in folders for stem in _stems(folder, rest)]
        found = [stem.with_name(stem.name + suffix) for stem in stems for suffix in _SUFFIXES]
    for path in (_archive_of(each) or each for each in found):
        if path.is_file() and (_is_own(path) or (top == owner and not _is_pythons(path))):
            return path
    return None


def _stems(folder: Path, rest: list[str]) -> Iterator[Path]:
    """Yield where a module may lie in the folder of its package, without the ends of names that Python imports."""
    yield folder.joinpath(*rest, "__init__")
    if rest:
        yield folder.joinpath(*rest)


def _archive_of(path: Path) -> Path | None:
    """Return the archive on Python's path that a module lies in; it counts as a whole."""
    return next((each for each in path.parents if each.is_file()), None)


def _is_own(path: Path) -> bool:
    """Tell whether a file is neither installed nor Python's own."""
    return _INSTALLED.isdisjoint(path.parts) and not _is_pythons(path)


def _is_pythons(path: Path) -> bool:
    """Tell whether a file belongs to Python itself; a file of the user's may have the name of such a module."""
    return _INSTALLED.isdisjoint(path.parts) and any(path.is_relative_to(folder) for folder in _PYTHONS)


def _files(package: Path) -> Iterator[Path]:
    """Yield the Python files in a package's folder, by its `__init__.py`."""
    return (path for path in sorted(package.parent.rglob("*.py")) if path != package)


def _read(path: Path, module: str) -> tuple[str, frozenset[Place]]:
    """Return a module's source and its imports, also those inside functions.

    Docstrings remain, because a plug-in may compute with them. What cannot be written as a tree counts as it is: long
    expressions, compiled modules, archives.
    """
    content = read_source(path)
    if path.suffix != ".py":
        return hashlib.sha256(content).hexdigest(), _imports_beside(path, module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: frozenset[Place] = frozenset()
    try:
        tree = ast.parse(content)
        found = frozenset(each for node in ast.walk(tree) for each in (*imports(node, package), *_listed(node, module)))
        return ast.dump(tree), found
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return hashlib.sha256(content).hexdigest(), found


def _imports_beside(path: Path, module: str) -> frozenset[Place]:
    """Return the imports of the source that lies beside a compiled module, or in an archive."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            sources = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    else:
        source = path.with_name(f"{path.name.partition('.')[0]}.py")
        sources = {module.replace(".", "/"): source.read_bytes()} if source.is_file() else {}
    found: set[Place] = set()
    for name, content in sources.items():
        with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            nodes = ast.walk(ast.parse(content))
            found |= {each for node in nodes for each in imports(node, name.rpartition("/")[0].replace("/", "."))}
    return frozenset(found)


def _listed(node: ast.AST, module: str) -> Iterator[Place]:
    """Yield what a module lists in `__all__`, which may be submodules that an import of `*` imports."""
    if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "__all__" for to in node.targets):
        texts = (each.value for each in ast.walk(node.value) if isinstance(each, ast.Constant))
        yield from (Place(module, text) for text in texts if isinstance(text, str))


def imports(node: ast.AST, package: str) -> Iterator[Place]:
    """Yield what a statement in a module of this package imports."""
    if isinstance(node, ast.Import):
        yield from (Place(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: 1 - node.level or None] if node.level else []
        module = ".".join(filter(None, [*parents, node.module]))
        yield from (Place(module, "" if alias.name == "*" else alias.name) for alias in node.names)
