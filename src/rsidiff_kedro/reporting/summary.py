"""Say in words what the rounds changed: paired differences between the base and the last round, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsidiff_kedro.core.image_set import PAIR
from rsidiff_kedro.evaluation.intervals import Interval, paired_difference
from rsidiff_kedro.reporting.figures import Metrics, rejected_rounds, reward_names, values_of


@dataclass(frozen=True)
class Comparison:
    """One measure of the base and of another round over the same prompts and seeds.

    Attributes:
        name: of the measure.
        base: mean over the base's images.
        last: mean over the round's images.
        difference: mean of last - base with its bootstrap interval over prompts.
        higher_is_better: whether a positive difference is an improvement.
    """

    name: str
    base: float
    last: float
    difference: Interval
    higher_is_better: bool

    @property
    def verdict(self) -> str:
        """Return "better" or "worse" if the interval excludes zero, else "no clear change"."""
        if not self.difference.excludes_zero:
            return "no clear change"
        return "better" if (self.difference.mean > 0) == self.higher_is_better else "worse"


def compare_rounds(
    base: pd.DataFrame, last: pd.DataFrame, rewards: Sequence[str], n_resamples: int, seed: int
) -> list[Comparison]:
    """Compare two rounds' test scores image by image.

    Args:
        base: the base's table, with prompt_id, sample_index, the rewards and, if there was a judge, correct,
            attribute_accuracy and hallucinations.
        last: the other round's table of the same prompts and seeds, in any order.
        rewards: columns to compare beside the judge's.
        n_resamples: of the bootstrap over prompts.
        seed: of the bootstrap.

    Raises:
        ValueError: the tables differ in their prompts or seeds, or a pair occurs twice in one.
    """
    pairs = _paired(base, last)
    clusters = pairs.index.get_level_values("prompt_id").to_numpy()
    measures: dict[str, tuple[str, bool]] = {
        "prompt accuracy": ("correct", True),
        "attribute accuracy": ("attribute_accuracy", True),
        "images with hallucinations": ("hallucinations", False),
        **{f"reward {name}": (name, True) for name in rewards},
    }
    comparisons = []
    for label, (column, higher_is_better) in measures.items():
        if column not in base or column not in last:
            continue
        before, after = (_values(pairs[f"{column}_{end}"], column) for end in ("base", "last"))
        judged = np.isfinite(before) & np.isfinite(after)
        before, after = before[judged], after[judged]
        difference = paired_difference(after, before, clusters[judged], n_resamples, seed)
        comparisons.append(Comparison(label, float(before.mean()), float(after.mean()), difference, higher_is_better))
    return comparisons


def _paired(base: pd.DataFrame, last: pd.DataFrame) -> pd.DataFrame:
    """Join the two tables on prompt and sample; columns end in _base and _last."""
    tables = {"base": base.set_index(PAIR).sort_index(), "last": last.set_index(PAIR).sort_index()}
    for name, table in tables.items():
        if table.index.has_duplicates:
            twice = table.index[table.index.duplicated()][0]
            raise ValueError(f"the {name} round's test scores have more than one row for (prompt, sample) {twice}")
    if not tables["base"].index.equals(tables["last"].index):
        unpaired = tables["base"].index.symmetric_difference(tables["last"].index)
        raise ValueError(
            f"{len(unpaired)} test images of the two rounds have no partner, (prompt, sample) {unpaired[0]} first; "
            "evaluate both rounds on the same test prompts"
        )
    return tables["base"].add_suffix("_base").join(tables["last"].add_suffix("_last"))


def _values(column: pd.Series, name: str) -> np.ndarray:
    """Return one number per image, NaN where the judge could not read the prompt.

    Hallucinations count once per image, as in the hallucination rate.
    """
    numbers = column.to_numpy(dtype=np.float64)
    return np.where(np.isnan(numbers), np.nan, numbers > 0) if name == "hallucinations" else numbers


def summary_text(
    rounds: Sequence[Metrics],
    base: pd.DataFrame,
    last: pd.DataFrame,
    n_resamples: int,
    seed: int,
    by_category: Sequence[str] = (),
) -> str:
    """Write a dozen lines: what improved from the base to the last round, by how much, and how sure that is.

    Args:
        rounds: every round's metrics, the base first.
        base: the base's test scores.
        last: the last round's.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.
        by_category: lines of `category_text`.
    """
    number = len(rounds) - 1
    comparisons = compare_rounds(base, last, reward_names(rounds), n_resamples, seed)
    width = max((len(item.name) for item in comparisons), default=0)
    lines = [
        f"Round {number} against the base model: {base['prompt_id'].nunique()} test prompts, {len(base)} images, "
        "paired by prompt and seed",
        f"  {'':{width}}     base   round {number}   difference [95 % interval]",
    ]
    for item in comparisons:
        lines.append(
            f"  {item.name:{width}} {item.base:8.3f}  {item.last:8.3f}   {item.difference.mean:+.3f} "
            f"{item.difference}  {item.verdict}"
        )
    lines += by_category
    lines += _diversity_lines(rounds) + _gate_lines(rounds) + _warnings(comparisons)
    lines.append("The report shows every round's figures and the same prompts and seeds side by side.")
    return "\n".join(lines) + "\n"


def _diversity_lines(rounds: Sequence[Metrics]) -> list[str]:
    values = values_of(rounds, "test/diversity")
    if np.isnan([values[0], values[-1]]).any():
        return []
    return [f"Diversity within a prompt: {values[0]:.3f} (base), {values[-1]:.3f} (round {len(rounds) - 1})."]


def _gate_lines(rounds: Sequence[Metrics]) -> list[str]:
    rejected = rejected_rounds(rounds)
    if not rejected:
        return []
    named = ", ".join(str(number) for number in rejected)
    return [f"The gate rejected the candidates of these rounds and kept the earlier adapter: {named}."]


def _warnings(comparisons: Sequence[Comparison]) -> list[str]:
    """Warn of what a reader of the rewards alone would miss."""
    accuracy = [item for item in comparisons if item.name == "prompt accuracy"]
    rewards = [item for item in comparisons if item.name.startswith("reward ")]
    if not accuracy:
        return ["No judge was held out: a reward that selects says little about what people would see."]
    if accuracy[0].verdict == "worse" and any(item.verdict == "better" for item in rewards):
        return ["A reward rose while the judge's accuracy fell: the model learned to please it (reward hacking)."]
    return []
