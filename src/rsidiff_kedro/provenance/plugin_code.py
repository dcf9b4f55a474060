"""Read the code of plug-ins from outside this project: whole modules, and all that they import and is not installed.

A plug-in may fill a table when it is imported, or make a name in any way, so no part of its modules is left out.
Nothing of it is executed.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from rsidiff_kedro.provenance.syntax import Place, normalized

PACKAGE = Path(__file__).parents[1].name
_INSTALLED = {"site-packages", "dist-packages"}


class Plugin(NamedTuple):
    """The code of a plug-in.

    Attributes:
        sources: normalized source by module.
        imported: what these modules import, wherever it lies.
    """

    sources: dict[str, str]
    imported: frozenset[Place]


def plugins_digest(modules: Collection[str]) -> str:
    """Return 12 hex digits of the SHA-256 of the code of plug-ins, by the names of their modules."""
    sources = {name: source for module in modules for name, source in read_plugin(module).sources.items()}
    lines = "".join(f"{name}\0{source}\0" for name, source in sorted(sources.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


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
        imported |= found
        waiting += [part for each in found for part in (each.module, f"{each.module}.{each.name}") if part.strip(".")]
    return Plugin(sources, frozenset(imported))


def _source_of(module: str, owner: str) -> Path | None:
    """Return a module's file; None for this project, Python's own modules, and installed ones but the plug-in's.

    The finder is asked for the top level only, because for others it would execute the packages around them.
    """
    top, *rest = module.split(".")
    if not top or top == PACKAGE or top in sys.stdlib_module_names:
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
        inside = [folder.joinpath(*rest) for folder in folders]
        found = [each for path in inside for each in (path / "__init__.py", path.with_name(f"{path.name}.py"))]
        found = [each for each in found if rest or each.name == "__init__.py"]
    for path in found:
        if path.suffix == ".py" and path.is_file() and (top == owner or _INSTALLED.isdisjoint(path.parts)):
            return path
    return None


def _read(path: Path, module: str) -> tuple[str, frozenset[Place]]:
    """Return a module's source, as far as it can be normalized, and its imports, also those inside functions."""
    content = path.read_bytes()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    try:
        tree = ast.parse(content)
        found = frozenset(each for node in ast.walk(tree) for each in imports(node, package))
        return normalized(tree), found
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(content).hexdigest(), frozenset()


def imports(node: ast.AST, package: str) -> Iterator[Place]:
    """Yield what a statement in a module of this package imports."""
    if isinstance(node, ast.Import):
        yield from (Place(alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: 1 - node.level or None] if node.level else []
        module = ".".join(filter(None, [*parents, node.module]))
        yield from (Place(module, "" if alias.name == "*" else alias.name) for alias in node.names)
