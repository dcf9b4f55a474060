"""Summarize in words what the rounds changed: paired differences between the base and the last round."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsidiff_kedro.core.pairs import paired
from rsidiff_kedro.evaluation.collapse import signs_of_collapse
from rsidiff_kedro.evaluation.intervals import Interval, paired_difference, ratio_text, ratio_verdict
from rsidiff_kedro.reporting.labels import diversity_meaning, reward_label, role
from rsidiff_kedro.reporting.values import (
    Metrics,
    accepted_round,
    gate_verdict,
    intervals_of,
    rejected_rounds,
    reward_names,
    untested_rounds,
)


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


def diversity_change(rounds: Sequence[Metrics]) -> tuple[float, float, Interval, str] | None:
    """Return the diversity of the base and of the last round, their ratio, and a verdict; None if not measured."""
    base, last = (intervals_of([each], "test/diversity")[0].mean for each in (rounds[0], rounds[-1]))
    ratio = intervals_of(rounds, "test/diversity_over_base")[-1]
    if not np.isfinite([base, last, ratio.mean]).all():
        return None
    return base, last, ratio, ratio_verdict(ratio)


def compare_rounds(
    base: pd.DataFrame, last: pd.DataFrame, rewards: Sequence[str], n_resamples: int, seed: int
) -> list[Comparison]:
    """Compare two rounds' test scores of the same prompts and seeds image by image.

    The tables have prompt_id, sample_index, the rewards and, if there was a judge, its columns (`judging.Judge`).

    Raises:
        UnpairedError: the tables differ in their prompts or samples, or a pair occurs twice in one.
    """
    one, other = paired(base, last)
    clusters = one.index.get_level_values("prompt_id").to_numpy()
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
        both = np.stack([one[column].astype(float), other[column].astype(float)], axis=1)
        judged = np.isfinite(both).all(axis=1)
        if not judged.any():
            continue
        # Hallucinations count once per image, as in the hallucination rate.
        before, after = (both[judged] > 0 if column == "hallucinations" else both[judged]).T
        difference = paired_difference(after, before, clusters[judged], n_resamples, seed)
        comparisons.append(Comparison(label, float(before.mean()), float(after.mean()), difference, higher_is_better))
    return comparisons


def summary_text(
    rounds: Sequence[Metrics],
    base: pd.DataFrame,
    last: pd.DataFrame,
    n_resamples: int,
    seed: int,
    by_category: Sequence[str] = (),
    selecting: Collection[str] = (),
    adapters: Mapping[int, str] | None = None,
) -> str:
    """Write a dozen lines: what improved from the base to the last round, by how much, and how sure that is.

    `rounds` are all metrics, the base first; `base` and `last` are test scores; `by_category` is from `category_text`;
    `selecting` are the rewards that select; `adapters` are the folders of the rounds' adapters, as far as known.
    """
    number = len(rounds) - 1
    comparisons = compare_rounds(base, last, reward_names(rounds), n_resamples, seed)
    comparisons.sort(key=lambda item: item.name.startswith("reward ") and _reward(item) not in selecting)
    names = [_marked(item, selecting) for item in comparisons]
    width = max(map(len, [*names, "diversity"]))
    lines = [
        f"Round {number} against the base model: {base['prompt_id'].nunique()} test prompts, {len(base)} images, "
        "paired by prompt and seed",
        f"  {'':{width}}     base   round {number}   difference [95 % interval]",
    ]
    for name, item in zip(names, comparisons):
        lines.append(
            f"  {name:{width}} {item.base:8.3f}  {item.last:8.3f}   {item.difference.mean:+.3f} "
            f"{item.difference}  {item.verdict}"
        )
    diversity = diversity_change(rounds)
    if diversity is not None:
        before, after, ratio, verdict = diversity
        lines.append(f"  {'diversity':{width}} {before:8.3f}  {after:8.3f}   {ratio_text(ratio)}  {verdict}")
        lines.append(f"Diversity, with its ratio to the base's: {diversity_meaning(rounds)}")
    lines += [*_rewards(rounds, selecting), *by_category, *_untested(rounds), *_gate(rounds, adapters or {})]
    lines += [*_warnings(comparisons, selecting), *_collapse(rounds, selecting)]
    lines.append("The report shows every round's figures and the same prompts and seeds side by side.")
    return "\n".join(lines) + "\n"


def _reward(item: Comparison) -> str:
    return item.name.removeprefix("reward ")


def _marked(item: Comparison, selecting: Collection[str]) -> str:
    if not item.name.startswith("reward "):
        return item.name
    return f"{item.name} ({role(_reward(item), selecting)})"


def _rewards(rounds: Sequence[Metrics], selecting: Collection[str]) -> list[str]:
    """Say how often each reward prefers the last round to the base, and how far what selects ran ahead."""
    wins = []
    for name in sorted(reward_names(rounds), key=lambda name: name not in selecting):
        rate = intervals_of(rounds, f"test/win_rate_over_base/{name}")[-1]
        if np.isfinite(rate.mean):
            interval = "" if np.isnan(rate.low) else f" [{rate.low:.2f}, {rate.high:.2f}]"
            wins.append(f"{reward_label(name, selecting)} {rate.mean:.2f}{interval}")
    lines = [f"Win rate over the base: {', '.join(wins)}"] if wins else []
    gap = intervals_of(rounds, "test/reward_gap")[-1]
    if np.isfinite(gap.mean):
        verdict = "it runs ahead" if gap.low > 0 else "it does not run ahead"
        lines.append(
            f"Gain of what selects minus gain of what is held out: {gap.mean:+.2f} standard deviations {gap}: {verdict}"
        )
    return lines


def _untested(rounds: Sequence[Metrics]) -> list[str]:
    """Name the rounds whose adapter was not tested."""
    numbers = ", ".join(map(str, untested_rounds(rounds)))
    return [f"Not tested, as evaluation.test_every says: round {numbers}."] if numbers else []


def _gate(rounds: Sequence[Metrics], adapters: Mapping[int, str]) -> list[str]:
    """Name the rejected rounds and the adapter in use."""
    rejected, used = rejected_rounds(rounds), accepted_round(rounds)
    lines = []
    if rejected:
        numbers = ", ".join(map(str, rejected))
        lines.append(f"The gate rejected the candidates of these rounds and kept the earlier adapter: {numbers}.")
    if rejected or used in adapters:
        name = f"round {used}'s" if used else "the base's, which changes nothing"
        lines.append(f"The adapter in use is {name}" + (f": {adapters[used]}" if used in adapters else "."))
    return lines


def _collapse(rounds: Sequence[Metrics], selecting: Collection[str]) -> list[str]:
    """Name each sign of collapse with the first round that shows it, and its round's verdict of the gate."""
    found: dict[str, str] = {}
    said = {"rejected": "the gate rejected its candidate", "no gate": "there was no gate"}
    for number in range(1, len(rounds)):
        for sign in signs_of_collapse(rounds[: number + 1], selecting):
            gate = said.get(gate_verdict(rounds[number]), "its candidate was accepted")
            found.setdefault(sign.monitor, f"Sign of collapse in round {number} ({gate}): {sign}")
    return [*found.values()]


def _warnings(comparisons: Sequence[Comparison], selecting: Collection[str]) -> list[str]:
    """Warn of what a reader of the rewards alone would miss."""
    if not selecting:
        return []
    verdicts = {item.name: item.verdict for item in comparisons}
    rewards = {name for name in verdicts if name.startswith("reward ")}
    held_out = {name for name in rewards if name.removeprefix("reward ") not in selecting}
    held_out |= {"prompt accuracy"} & verdicts.keys()
    if not held_out:
        return ["Nothing was held out: a reward that selects says little about what people would see."]
    improved = any(verdicts[name] == "better" for name in rewards - held_out)
    fell = sorted(name for name in held_out if verdicts[name] == "worse")
    if improved and fell:
        what = ", ".join("the judge's accuracy" if name == "prompt accuracy" else name for name in fell)
        return [f"What selects rose while {what} fell: the model learned to please it (reward hacking)."]
    return []
