"""Write a study's page in Markdown, from its file and its tables."""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import check_can_make, replacing
from rsidiff_kedro.core.untrusted.text import printable, tree_without_places, without_credentials, without_places
from rsidiff_kedro.study.claims import judge
from rsidiff_kedro.study.comparisons import (
    Measure,
    by_round,
    changes,
    gap_by_round,
    gaps,
    measures_of,
    missing,
    tested_apart,
)
from rsidiff_kedro.study.figure import save_figure
from rsidiff_kedro.study.settings import Pairing, StudySettings
from rsidiff_kedro.study.statistics import RESAMPLES, Estimate
from rsidiff_kedro.study.tables import Tables

METHOD = """\
Intervals are 95 % percentile intervals of {resamples} resamples: of seeds, and of whole prompts within each seed. A
prompt brings its samples of both arms or rounds, so differences are paired where prompts are the same. With few seeds
they are somewhat too narrow, because the spread over seeds is known badly. p (Holm) is the two-sided p-value of the
same resamples, corrected for the number of pairs in its table."""


_BEGINNING = "# Study "
"""Of every page."""


def check_page(path: Path) -> None:
    """Check that the page and its figure can be written, and replace nothing but an earlier page and its figure.

    Raises:
        InputError: they cannot, or would.
    """
    figure = path.with_suffix(".png")
    if figure == path:
        raise InputError(f"{path} would be both the page and its figure; name a Markdown file, such as results.md")
    for each in (path, figure):
        check_can_make(each)
    if path.exists() and not path.read_bytes().startswith(_BEGINNING.encode()):
        raise InputError(f"{path} exists and is no page of a study; move it, or name another page")
    if figure.exists() and not path.exists():
        raise InputError(
            f"{figure} exists without a page {path.name} beside it, whose figure it would be; move or delete it, or "
            "name another page"
        )


def write_page(path: Path, name: str, settings: StudySettings, tables: Tables) -> None:
    """Write the page, and beside it its figure under the same name.

    Raises:
        InputError: the tables hold no run of the study, or `check_page` refuses the path.
    """
    check_page(path)
    arms = [arm for arm in settings.arms if arm in set(tables.images["arm"])]
    if not arms:
        raise InputError(f"the tables hold no run of the arms {', '.join(settings.arms)}; run the study first")
    measures = measures_of(tables, settings.split)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = path.with_suffix(".png")
    own = "\n(each arm on its own prompts)" if tested_apart(arms, tables) else ""
    panels = {f"{each.label}{own}": {arm: by_round(each, arm, tables) for arm in arms} for each in measures}
    with replacing(path) as partial:
        partial.write_text("\n".join(_page(name, settings, tables, measures, arms, figure.name)), encoding="utf-8")
    save_figure(figure, panels, settings.flat)


def _page(
    name: str, settings: StudySettings, tables: Tables, measures: Sequence[Measure], arms: Sequence[str], figure: str
) -> Iterator[str]:
    pairs = [pair for pair in settings.pairs if {*pair.arms} <= {*arms}]
    yield f"{_BEGINNING}{name}\n"
    yield from _setting(settings, tables, arms)
    if settings.claims:
        yield "## Claims\n"
        yield from _claims(settings, measures)
        yield ""
    yield f"![{', '.join(each.label for each in measures)} by round, by arm]({figure})\n"
    yield "## Arms against the base\n"
    yield from _changes(measures, arms, tables)
    if pairs:
        yield "\n## Arms against each other\n"
        yield from _gaps(measures, pairs, tables, settings.flat)
        yield from _gaps_by_round(measures[0], pairs, tables, settings.flat)
    yield "\n## By round\n"
    yield from _rounds(measures, arms, tables)
    yield "\n## How to read this\n"
    yield METHOD.format(resamples=RESAMPLES) + "\n"


def _setting(settings: StudySettings, tables: Tables, arms: Sequence[str]) -> Iterator[str]:
    counts = tables.images.groupby(["arm", "seed", "round"])["prompt_id"].agg(["nunique", "size"]).max()
    seeds = ", ".join(map(str, settings.seeds))
    apart = tested_apart(arms, tables)
    most = "up to " if apart else ""
    yield (
        f"Environment {settings.env or 'of the default'}; seeds {seeds}; {most}{counts['nunique']} {settings.split} "
        f"prompts, {most}{counts['size']} images per run and round.\n"
    )
    if settings.about:
        yield f"{_placeless(settings.about)}\n"
    absent = missing(settings, tables)
    if absent:
        yield f"**Not in the figures, because they did not come to their end: {', '.join(absent)}.**\n"
    if apart:
        listed = ", ".join(f"{name} {count}" for name, count in apart.items())
        yield (
            f"**The runs were tested on different prompts (over all seeds: {listed}).** Differences and ratios are of "
            "the prompts that both share; those left out are counted. All other values, and the figure, are of each "
            "arm's own prompts, and two arms are not compared by them.\n"
        )
    rows = [
        (name, arm.pipeline if arm.pipeline != "rsi" else settings.rounds_of(name), _params(arm.params))
        for name, arm in settings.arms.items()
    ]
    yield from markdown_table(("arm", "rounds", "parameters that differ from the environment"), rows)
    yield ""


def _claims(settings: StudySettings, measures: Sequence[Measure]) -> Iterator[str]:
    rows = [
        (
            each.claim.says,
            f"**{each.verdict}**",
            f"{each.measure.label} {compared(each.found, each.measure)}",
            f"{_run(each.claim.of)} {'/' if each.measure.is_ratio else 'minus'} {_run(each.claim.over)}",
            p_value(each.p),
        )
        for each in judge(settings.claims, measures)
    ]
    yield from markdown_table(("claim", "verdict", "figure with 95 % interval", "of", "p (Holm)"), rows)


def _run(run: tuple[str, int]) -> str:
    arm, number = run
    return f"{arm}, {f'round {number}' if number else 'base'}"


def _params(params: dict[str, object]) -> str:
    values = tree_without_places(params)
    return ", ".join(f"`{name}={json.dumps(value, ensure_ascii=False)}`" for name, value in values.items())


def _changes(measures: Sequence[Measure], arms: Sequence[str], tables: Tables) -> Iterator[str]:
    rows = [
        (each.arm, measure.label, compared(each.change, measure), _with_interval(each.last), _number(each.base.value))
        for measure in measures
        for each in changes(measure, arms, tables)
    ]
    yield from markdown_table(("arm", "measure", "last round minus base (x: over base)", "last round", "base"), rows)


def _gaps(
    measures: Sequence[Measure], pairs: Sequence[Pairing], tables: Tables, flat: Collection[str]
) -> Iterator[str]:
    rows = [
        (
            _pair(each.pair, measure),
            each.pair.after or "",
            measure.label,
            compared(each.gap, measure) if each.pair.after else "not measured: no trained round was tested in both",
            p_value(each.p),
            f"{each.gap.seeds}, {each.gap.prompts}",
        )
        for measure in measures
        for each in gaps(measure, pairs, tables, flat)
    ]
    head = ("arms", "round", "measure", "difference (x: ratio)", "p (Holm)", "seeds, paired prompts")
    yield from markdown_table(head, rows)


def _gaps_by_round(measure: Measure, pairs: Sequence[Pairing], tables: Tables, flat: Collection[str]) -> Iterator[str]:
    found = {arms: gap_by_round(measure, Pairing(*arms), tables, flat) for arms in dict.fromkeys(p.arms for p in pairs)}
    rounds = sorted({number for gap in found.values() for number in gap})
    if not rounds:
        return
    yield f"\nThe same by round: {measure.label}.\n"
    rows = [
        (
            _pair(Pairing(*arms), measure),
            *(compared(gap[number], measure) if number in gap else "" for number in rounds),
        )
        for arms, gap in found.items()
    ]
    yield from markdown_table(("arms", *map(str, rounds)), rows)


def _pair(pair: Pairing, measure: Measure) -> str:
    return (" / " if measure.is_ratio else " minus ").join(pair.arms)


def _rounds(measures: Sequence[Measure], arms: Sequence[str], tables: Tables) -> Iterator[str]:
    found = {(arm, each.label): by_round(each, arm, tables) for each in measures for arm in arms}
    numbers = sorted({number for curve in found.values() for number in curve})
    rows = [
        (arm, label, *(_number(curve[number].value) if number in curve else "" for number in numbers))
        for (arm, label), curve in found.items()
    ]
    yield from markdown_table(("arm", "measure", *map(str, numbers)), rows)


def compared(found: Estimate, measure: Measure) -> str:
    """Write a difference or a ratio with its interval, and how many prompts it leaves out."""
    if math.isnan(found.value):
        return "not measured on prompts that both share" if found.left_out else "not measured"
    text = f"x {found.value:.2f}" if measure.is_ratio else f"{found.value:+.3f}"
    left_out = f", {found.left_out} prompts without a partner left out" if found.left_out else ""
    if math.isnan(found.low):
        return f"{text} (no interval){left_out}"
    interval = f"[{found.low:.2f}, {found.high:.2f}]" if measure.is_ratio else str(found.interval)
    return f"{text} {interval}{left_out}"


def _with_interval(found: Estimate) -> str:
    number = _number(found.value)
    return number if math.isnan(found.low) else f"{number} [{found.low:.3f}, {found.high:.3f}]"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def p_value(value: float) -> str:
    """Write a p-value."""
    return "" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(_placeless(str(cell)).replace('|', '&#124;') for cell in row)} |"


def _placeless(text: str) -> str:
    """Return a text in one line, without credentials and places, because a page is for others."""
    return without_places(without_credentials(printable(text)))
