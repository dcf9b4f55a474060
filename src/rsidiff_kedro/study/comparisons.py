"""Compute what a study's page shows: each arm against its base, and arms against each other, measure by measure."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from rsidiff_kedro.study.settings import (
    ACCURACY,
    DIVERSITY,
    HALLUCINATIONS,
    REWARD,
    Pairing,
    StudySettings,
)
from rsidiff_kedro.study.statistics import KEY, UNKNOWN, Estimate, by_prompt, difference, holm, mean, ratio
from rsidiff_kedro.study.tables import RUN, Tables


@dataclass(frozen=True)
class Measure:
    """Something that is measured per image, per prompt or per run.

    Attributes:
        label: in words.
        table: with a row per value, and its columns; where nothing was measured, a prompt's value is NaN.
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
    """The difference between two arms after a round.

    Attributes:
        pair: the arms, first minus second or first over second; its round is None where both share none after the base.
        gap: with the p-value of this comparison alone.
        p: after Holm's correction over the pairs of this measure.
    """

    pair: Pairing
    gap: Estimate
    p: float


def measures_of(tables: Tables, split: str) -> list[Measure]:
    """List what the runs measured, the most telling first: accuracy by the judge or else rewards, then diversity."""
    found = []
    if "correct" in tables.images:
        found += [
            Measure(ACCURACY, tables.images, "correct"),
            Measure(HALLUCINATIONS, tables.images, "hallucinated"),
        ]
    diversity = _diversity(tables, split)
    if diversity["diversity"].notna().any():
        found.append(Measure(DIVERSITY, diversity, "diversity", ratio))
    rewards = [Measure(f"{REWARD}{name}", tables.images, name) for name in tables.rewards]
    return [*found, *rewards] if "correct" in tables.images else [*rewards, *found]


def _diversity(tables: Tables, split: str) -> pd.DataFrame:
    """Return the diversity of each tested prompt; without a judge, when only a run's mean is known, of all together."""
    tested = tables.images[[*RUN, "prompt_id"]].drop_duplicates()
    if len(tables.prompts):
        return tested.merge(tables.prompts, how="left", on=[*RUN, "prompt_id"])
    rows = tables.metrics[tables.metrics["metric"] == f"{split}/diversity"].rename(columns={"value": "diversity"})
    prompts = tested.groupby(RUN)["prompt_id"].agg(lambda ids: " ".join(sorted(ids)))  # pairs with the very same alone
    return rows.merge(prompts.reset_index(), on=RUN)


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


def gaps(measure: Measure, pairs: Sequence[Pairing], tables: Tables, flat: Collection[str] = ()) -> list[Gap]:
    """Compare arms with each other; p-values are corrected for the number of pairs.

    Args:
        measure: what is compared.
        pairs: the arms and rounds.
        tables: of the study.
        flat: arms without rounds, which count with their last.
    """
    found = []
    for pair in pairs:
        after = pair.after or next(reversed(_shared_rounds(pair, tables, flat)), None)
        gap = measure.compare(*_both(measure, pair, after, tables, flat)) if after else UNKNOWN
        found.append(Gap(pair._replace(after=after), gap, gap.p))
    corrected = holm([each.gap.p for each in found])
    return [replace(each, p=p) for each, p in zip(found, corrected, strict=True)]


def gap_by_round(measure: Measure, pair: Pairing, tables: Tables, flat: Collection[str] = ()) -> dict[int, Estimate]:
    """Compare two arms after each round that both have; see `gaps`."""
    rounds = _shared_rounds(pair, tables, flat)
    return {number: measure.compare(*_both(measure, pair, number, tables, flat)) for number in rounds}


def _both(
    measure: Measure, pair: Pairing, after: int, tables: Tables, flat: Collection[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    first, second = (measure.of(arm, last_round(tables, arm) if arm in flat else after) for arm in pair.arms)
    return first, second


def _shared_rounds(pair: Pairing, tables: Tables, flat: Collection[str]) -> list[int]:
    """List the evaluated rounds after the base that both arms have; an arm without rounds has those of the other."""
    rounds = [{*_rounds(tables, arm)} - {0} for arm in pair.arms if arm not in flat]
    return sorted(set.intersection(*rounds)) if rounds else [1]


def by_round(measure: Measure, arm: str, tables: Tables) -> dict[int, Estimate]:
    """Return a measure of an arm in each evaluated round."""
    return {number: mean(measure.of(arm, number)) for number in _rounds(tables, arm)}


def _rounds(tables: Tables, arm: str) -> list[int]:
    return sorted(map(int, tables.images.loc[tables.images["arm"] == arm, "round"].unique()))


def tested_apart(arms: Collection[str], tables: Tables) -> dict[str, int]:
    """Count the prompts of each arm over its seeds, and those that all runs of a seed share; {} if they share all."""
    tested = tables.images.loc[tables.images["arm"].isin(arms), [*RUN, "prompt_id"]].drop_duplicates()
    runs = tested.drop_duplicates(RUN).groupby("seed").size()
    times = tested.groupby(KEY).size()
    shared = times.to_numpy() == runs[times.index.get_level_values("seed")].to_numpy()
    if shared.all():
        return {}
    own = tested.drop_duplicates(["arm", *KEY]).groupby("arm").size()
    return {**{arm: int(own[arm]) for arm in arms}, "shared by all": int(shared.sum())}


def missing(settings: StudySettings, tables: Tables) -> list[str]:
    """List the runs that the tables do not have, in words."""
    have = {*tables.images[["arm", "seed"]].itertuples(index=False, name=None)}
    return [f"{arm} seed {seed}" for arm in settings.arms for seed in settings.seeds if (arm, seed) not in have]
