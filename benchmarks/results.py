"""Write docs/results.md's tables and all pages of docs/studies from the raw tables there: python benchmarks/results.py

A block of docs/results.md from `<!-- made by … -->` to `<!-- end -->` is a table that this writes; the words around it
are written by hand.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.study.claims import judge
from rsidiff_kedro.study.comparisons import Measure, measures_of
from rsidiff_kedro.study.page import compared, markdown_table, p_value, write_page
from rsidiff_kedro.study.settings import ACCURACY, StudySettings, read_study
from rsidiff_kedro.study.statistics import mean
from rsidiff_kedro.study.tables import Tables, load_tables

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
STUDIES = ("claims", "strategies", "hopeless", "sample_size", "beyond", "second_family")
"""Those that were run, in the order of their claims."""
BLOCK = re.compile(r"(<!-- made by benchmarks/results\.py: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write everything."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for name in STUDIES:
        write_page(ROOT / "docs" / "studies" / f"{name}.md", name, *open_study(name))
    with replacing(PAGE) as partial:
        partial.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """Return the page with its tables made anew."""
    makers = {"claims": claims_table, "arms": arms_table}

    def made(block: re.Match[str]) -> str:
        kind, name = block[2], block[3]
        studies = STUDIES if name == "all" else (name,)
        return block[1] + "\n".join(makers[kind](*studies)) + "\n" + block[4]

    return BLOCK.sub(made, page)


def open_study(name: str) -> tuple[StudySettings, Tables]:
    """Read a study's file and its raw tables."""
    return read_study(ROOT / f"benchmarks/studies/{name}.yml"), load_tables(ROOT / "docs" / "studies" / name)


def claims_table(*studies: str) -> Iterator[str]:
    """Yield a row per claim: the verdict, both values, and their difference or ratio."""
    rows: list[tuple[object, ...]] = []
    for name in studies:
        settings, tables = open_study(name)
        for each in judge(settings.claims, measures_of(tables, settings.split)):
            first, second = (mean(each.measure.of(*run)).value for run in (each.claim.of, each.claim.over))
            figure = f"{first:.3f} and {second:.3f}: {compared(each.found, each.measure)}"
            about = "" if each.measure.label == ACCURACY else f"{each.measure.label} "
            p, seeds = p_value(each.p), each.found.seeds
            rows.append((each.claim.says, f"**{each.verdict}**", about + figure, p, seeds, page_of(name)))
    head = (
        "claim",
        "verdict",
        "accuracy, or the measure that is named: both, and their difference or ratio",
        "p",
        "seeds",
        "study",
    )
    yield from markdown_table(head, rows)


def arms_table(*studies: str) -> Iterator[str]:
    """Yield a row per arm and round 6, 12, …: accuracy and hallucinations against the base, and diversity over it."""
    rows: list[tuple[object, ...]] = []
    head: tuple[str, ...] = ()
    for name in studies:
        settings, tables = open_study(name)
        measures = [each for each in measures_of(tables, settings.split) if not each.label.startswith("reward ")]
        head = ("arm", "round", *(f"{each.label}, against the base" for each in measures))
        rows.append(("base", 0, *_cells(measures, next(iter(settings.arms)), 0)))
        for arm in settings.arms:
            tested = sorted({*tables.images.loc[tables.images["arm"] == arm, "round"]} - {0})
            rows += [(arm, number, *_cells(measures, arm, number)) for number in tested if number % 6 == 0]
    yield from markdown_table(head, rows)


def _cells(measures: list[Measure], arm: str, number: int) -> Iterator[str]:
    for measure in measures:
        last, base = measure.of(arm, number), measure.of(arm, 0)
        value = f"{mean(last).value:.3f}"
        yield f"{value}, {compared(measure.compare(last, base), measure)}" if number else value


def page_of(name: str) -> str:
    """Return a link to a study's page."""
    return f"[{name}](studies/{name}.md)"


if __name__ == "__main__":
    main()
