"""Name definitions, and bring their syntax into a text that comments, docstrings and layout do not change."""

import ast
from pathlib import Path
from typing import NamedTuple

_READ: dict[Path, tuple[int, int]] = {}
"""The size and the time of change of each source that was read."""


class Place(NamedTuple):
    """A definition at the top level of a module; without a name, the module as a whole."""

    module: str
    name: str = ""


def read_source(path: Path) -> bytes:
    """Read a source; `sources_changed` then looks after it."""
    _READ[path] = _stamp(path)
    return path.read_bytes()


def sources_changed() -> bool:
    """Tell whether a source that was read is no longer what it was; if so, look after none before it is read again."""
    changed = any(_stamp(path) != before for path, before in _READ.items())
    if changed:
        _READ.clear()
    return changed


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:  # deleted meanwhile
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def is_docstring(statement: ast.AST) -> bool:
    """Tell whether a statement is a text alone."""
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def normalized(statement: ast.AST) -> str:
    """Return the syntax tree as text, without docstrings."""
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not is_docstring(part)]  # type: ignore[attr-defined]
    return ast.dump(statement)
