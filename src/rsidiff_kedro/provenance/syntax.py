"""Name definitions, and bring their syntax into a text that comments, docstrings and layout do not change."""

import ast
from typing import NamedTuple


class Place(NamedTuple):
    """A definition at the top level of a module; without a name, the module as a whole."""

    module: str
    name: str = ""


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
