"""Compute what a study's page shows: each arm against its base, and arms against each other, measure by measure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from rsidiff_kedro.study.settings import StudySettings
from rsidiff_kedro.study.statistics import Estimate, by_prompt, difference, holm, mean, ratio
from rsidiff_kedro.study.tables import Tables


@dataclass(frozen=True)
class Measure:
    """Something that is measured per image, per prompt or per run.

    Attributes:
        label: in words.
        table: with a row per value, and its columns.
        column: of the values.
        compare: the difference of two arms or rounds, or their ratio.
    """

    label: str
    table: pd.DataFrame
    column: str
    compare: Callable[[pd.DataFrame, pd.DataFrame], Estimate] = difference

    def of(self, arm: str, number: int) -> pd.DataFrame:
        """Return the values of an arm in a round, see `by_prompt`."""
        rows = (self.table["arm"] == arm) & (self.table["round"] == number)
        return by_prompt(self.table[rows], self.column)

    @property
    def is_ratio(self) -> bool:
        """Tell whether arms are compared by their ratio."""
        return self.compare is ratio


@dataclass(frozen=True)
class Change:
    """An arm in its last round, and what changed since the base."""

    arm: str
    base: Estimate
    last: Estimate
    change: Estimate


@dataclass(frozen=True)
class Gap:
    """The difference between two arms at their last rounds.

    Attributes:
        pair: the arms, first minus second or first over second.
        gap: with the p-value of this comparison alone.
        p: after Holm's correction over the pairs of this measure.
        seeds: that both have.
        prompts: of these seeds, evaluated in both.
    """

    pair: tuple[str, str]
    gap: Estimate
    p: float
    seeds: int
    prompts: int


def measures_of(tables: Tables, split: str) -> list[Measure]:
    """List what the runs measured, the most telling first: accuracy by the judge or else rewards, then diversity."""
    found = []
    if "correct" in tables.images:
        found += [
            Measure("accuracy", tables.images, "correct"),
            Measure("hallucination rate", tables.images, "hallucinated"),
        ]
    diversity = tables.prompts
    if diversity.empty:  # without a judge only its mean in each run is known
        rows = tables.metrics[tables.metrics["metric"] == f"{split}/diversity"]
        diversity = rows.assign(prompt_id="all prompts", diversity=rows["value"])
    if len(diversity):
        found.append(Measure("diversity", diversity, "diversity", ratio))
    rewards = [Measure(f"reward {name}", tables.images, name) for name in tables.rewards]
    return [*found, *rewards] if "correct" in tables.images else [*rewards, *found]


def last_round(tables: Tables, arm: str) -> int:
    """Return the number of an arm's last round that was evaluated."""
    return int(tables.images.loc[tables.images["arm"] == arm, "round"].max())


def changes(measure: Measure, arms: Sequence[str], tables: Tables) -> list[Change]:
    """Compare the last round of each arm with its base."""
    found = []
    for arm in arms:
        base, last = measure.of(arm, 0), measure.of(arm, last_round(tables, arm))
        found.append(Change(arm, mean(base), mean(last), measure.compare(last, base)))
    return found


def gaps(measure: Measure, pairs: Sequence[tuple[str, str]], tables: Tables) -> list[Gap]:
    """Compare arms with each other at their last rounds; p-values are corrected for the number of pairs."""
    found = []
    for pair in pairs:
        first, second = (measure.of(arm, last_round(tables, arm)) for arm in pair)
        shared = first.index.intersection(second.index)
        gap = measure.compare(first, second)
        seeds = {*first.index.get_level_values("seed")} & {*second.index.get_level_values("seed")}
        found.append(Gap(pair, gap, gap.p, len(seeds), len(shared)))
    corrected = holm([each.gap.p for each in found])
    return [replace(each, p=p) for each, p in zip(found, corrected, strict=True)]


def gap_by_round(measure: Measure, pair: tuple[str, str], tables: Tables) -> dict[int, Estimate]:
    """Compare two arms in each round after the base; one with fewer rounds stays at its last."""
    first, second = pair
    rounds = sorted({*_rounds(tables, first), *_rounds(tables, second)} - {0})
    lasts = {arm: last_round(tables, arm) for arm in pair}
    return {
        number: measure.compare(*(measure.of(arm, min(number, lasts[arm])) for arm in pair))
        for number in rounds
        if all(min(number, lasts[arm]) in _rounds(tables, arm) for arm in pair)
    }


def by_round(measure: Measure, arm: str, tables: Tables) -> dict[int, Estimate]:
    """Return a measure of an arm in each evaluated round."""
    return {number: mean(measure.of(arm, number)) for number in _rounds(tables, arm)}


def _rounds(tables: Tables, arm: str) -> list[int]:
    return sorted(map(int, tables.images.loc[tables.images["arm"] == arm, "round"].unique()))


def missing(settings: StudySettings, tables: Tables) -> list[str]:
    """List the runs that the tables do not have, in words."""
    have = {*tables.images[["arm", "seed"]].itertuples(index=False, name=None)}
    return [f"{arm} seed {seed}" for arm in settings.arms for seed in settings.seeds if (arm, seed) not in have]
