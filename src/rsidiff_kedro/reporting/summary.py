"""Summarize in words what the rounds changed: paired differences between the base and the last round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsidiff_kedro.core.image_set import PAIR
from rsidiff_kedro.evaluation.intervals import Interval, paired_difference
from rsidiff_kedro.reporting.figures import Metrics, rejected_rounds, reward_names, values_of


@dataclass(frozen=True)
class Comparison:
    """One measure of the base and of another round over the same prompts and seeds.

    `base` and `last` are means over images; `difference` is the mean of last - base.
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
    """Compare two rounds' test scores of the same prompts and seeds image by image.

    The tables have prompt_id, sample_index, the rewards and, if there was a judge, its columns (`judging.Judge`).

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
        both = pairs[[f"{column}_base", f"{column}_last"]].astype(float).to_numpy()
        judged = np.isfinite(both).all(axis=1)
        # Hallucinations count once per image, as in the hallucination rate.
        before, after = (both[judged] > 0 if column == "hallucinations" else both[judged]).T
        difference = paired_difference(after, before, clusters[judged], n_resamples, seed)
        comparisons.append(Comparison(label, float(before.mean()), float(after.mean()), difference, higher_is_better))
    return comparisons


def _paired(base: pd.DataFrame, last: pd.DataFrame) -> pd.DataFrame:
    """Join the two tables on prompt and sample; columns end in _base and _last."""
    one, other = (table.set_index(PAIR).sort_index() for table in (base, last))
    for name, table in (("base", one), ("last", other)):
        if table.index.has_duplicates:
            twice = table.index[table.index.duplicated()][0]
            raise ValueError(f"the {name} round's test scores have more than one row for (prompt, sample) {twice}")
    unpaired = one.index.symmetric_difference(other.index)
    if len(unpaired):
        raise ValueError(
            f"{len(unpaired)} test images of the two rounds have no partner, (prompt, sample) {unpaired[0]} first; "
            "evaluate both rounds on the same test prompts"
        )
    return one.add_suffix("_base").join(other.add_suffix("_last"))


def summary_text(
    rounds: Sequence[Metrics],
    base: pd.DataFrame,
    last: pd.DataFrame,
    n_resamples: int,
    seed: int,
    by_category: Sequence[str] = (),
) -> str:
    """Write a dozen lines: what improved from the base to the last round, by how much, and how sure that is.

    `rounds` are all metrics, the base first; `base` and `last` are test scores; `by_category` is from `category_text`.
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
    diversity = values_of(rounds, "test/diversity")
    if not np.isnan([diversity[0], diversity[-1]]).any():
        lines.append(f"Diversity within a prompt: {diversity[0]:.3f} (base), {diversity[-1]:.3f} (round {number}).")
    rejected = ", ".join(map(str, rejected_rounds(rounds)))
    if rejected:
        lines.append(f"The gate rejected the candidates of these rounds and kept the earlier adapter: {rejected}.")
    lines += _warnings({item.name: item.verdict for item in comparisons})
    lines.append("The report shows every round's figures and the same prompts and seeds side by side.")
    return "\n".join(lines) + "\n"


def _warnings(verdicts: Mapping[str, str]) -> list[str]:
    """Warn of what a reader of the rewards alone would miss."""
    if "prompt accuracy" not in verdicts:
        return ["No judge was held out: a reward that selects says little about what people would see."]
    improved = any(name.startswith("reward ") and verdict == "better" for name, verdict in verdicts.items())
    if verdicts["prompt accuracy"] == "worse" and improved:
        return ["A reward rose while the judge's accuracy fell: the model learned to please it (reward hacking)."]
    return []
