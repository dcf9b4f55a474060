"""The tables of docs/results.md are those that its script makes of the raw tables."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "results.py"


def test_tables_are_those_of_the_raw_tables() -> None:
    """A figure that was changed by hand, or raw tables that changed later, would show."""
    script = runpy.run_path(str(SCRIPT))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert len(script["BLOCK"].findall(page)) == 3
    assert script["with_tables"](page) == page
    changed = page.replace("+0.199", "+0.299")
    assert changed != page
    assert script["with_tables"](changed) == page
