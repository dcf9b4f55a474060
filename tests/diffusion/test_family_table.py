"""docs/models.md says which tests cover which family, and how many lines a family has."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsidiff_kedro.diffusion import families
from rsidiff_kedro.diffusion.families import FAMILIES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "models.md"
BEGIN, END = "<!-- families -->\n", "<!-- end of families -->\n"


def covered(function: ast.FunctionDef) -> set[str]:
    """Return the families that a test names as its parameter `family`."""
    found: set[str] = set()
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Name) and decorator.id == "each_family":
            found |= {*FAMILIES.names}
        if not isinstance(decorator, ast.Call) or len(decorator.args) < 2:
            continue
        names, values = decorator.args[:2]
        named = [each.value for each in ast.walk(names) if isinstance(each, ast.Constant)]
        if "family" in named and ast.unparse(values) == "FAMILIES.names":
            found |= {*FAMILIES.names}
        elif "family" in named and isinstance(values, ast.List):
            rows = [each.elts[named.index("family")] if isinstance(each, ast.Tuple) else each for each in values.elts]
            found |= {each.value for each in rows if isinstance(each, ast.Constant)} & {*FAMILIES.names}
    return found


def coverage() -> Iterator[tuple[str, set[str]]]:
    """Yield each test's title and its families, those of one title together."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and (found := covered(node)):
                yield f"{node.name.removeprefix('test_').replace('_', ' ')} (`{path.parent.name}/{path.name}`)", found


def table() -> str:
    """Return the table in Markdown."""
    columns = " | ".join(f"`{name}`" for name in FAMILIES.names)
    folder = Path(families.__file__).parent
    lines = [len((folder / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in FAMILIES.names]
    rows = [f"| test | {columns} |", "|---|" + "---|" * len(FAMILIES.names)]
    for title, found in coverage():
        rows.append(f"| {title} | " + " | ".join("x" if name in found else "" for name in FAMILIES.names) + " |")
    rows.append(f"| lines of the family's file | {' | '.join(map(str, lines))} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_families_is_that_of_the_tests(request: pytest.FixtureRequest) -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    shown, _, after = rest.partition(END)
    if request.config.getoption("--write-table"):
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
    else:
        assert shown == table(), "write it: pytest tests/diffusion/test_family_table.py --write-table"
