"""Compare two runs: what was set differently, and what that changed on the test prompts that they share."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import PAIR
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.evaluation.diversity import open_diversity
from rsidiff_kedro.evaluation.intervals import ratio_of_means, ratio_text, ratio_verdict
from rsidiff_kedro.provenance.records import changed_names
from rsidiff_kedro.reporting.labels import reward_label
from rsidiff_kedro.reporting.summary import Comparison, compare_rounds
from rsidiff_kedro.rewards.protocol import record_changes

JUDGED = ["correct", "attribute_accuracy", "hallucinations", "left_open"]
"""Columns of a judge's verdicts."""
_JUDGE, _OPTIONS = "evaluation.judge", "rewards.custom."
_NOISE = {"seed", "model.family", "model.base", "model.resolution"}
"""Parameters that tell the starting noise of an image: its numbers, and the shape of the latents."""
_WIDTH = 60
"""Characters of a parameter's value that are shown."""


class NothingSharedError(InputError):
    """Two runs share no test prompt."""


@dataclass(frozen=True)
class Side:
    """One of two runs.

    Attributes:
        name: of the run and its round.
        parameters: that its steps read, by path.
        scores: the round's test scores.
        selecting: the rewards that select.
        code: digests of the code of the rewards and the judge that made the scores, by name, as far as they are known.
    """

    name: str
    parameters: Mapping[str, Any]
    scores: pd.DataFrame
    selecting: Collection[str]
    code: Mapping[str, str] = field(default_factory=dict)


def changed_parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the parameters whose values differ, by path; None where a run read no such parameter."""
    return {name: (old.get(name), new.get(name)) for name in changed_names(old, new)}


def shared_images(old: pd.DataFrame, new: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of both tables of test scores whose prompt and sample both have.

    Raises:
        NothingSharedError: there are none.
    """
    keys = old[PAIR].merge(new[PAIR])
    if keys.empty:
        raise NothingSharedError(
            "the two runs share no test prompt, so nothing can be paired; runs share them if prompt_curation and seed "
            "are the same"
        )
    return old.merge(keys, on=PAIR), new.merge(keys, on=PAIR)


def comparison_text(old: Side, new: Side, n_resamples: int, seed: int) -> str:
    """Write the changed parameters, and a table of measures with the paired difference of each and its interval."""
    changed = changed_parameters(old.parameters, new.parameters)
    lines = [f"A: {old.name}", f"B: {new.name}", "", *_changes(changed), ""]
    ours, theirs = shared_images(old.scores, new.scores)
    prompts, left_out = ours["prompt_id"].nunique(), (len(old.scores) - len(ours), len(new.scores) - len(ours))
    by = "by prompt" if _NOISE & changed.keys() else "by prompt and noise"
    lines.append(f"{prompts} test prompts, {len(ours)} images, paired {by}" + _left_out(*left_out))
    known = [name for name in old.scores.attrs.get("rewards", {}) if name in ours and name in theirs]
    other = {name: what for name in known if (what := _other_function(name, old, new))}
    rewards = [name for name in known if name not in other]
    judge = _other_judge(old, new) if "correct" in ours and "correct" in theirs else []
    if judge:
        other["the judge"] = judge
        ours, theirs = (each.drop(columns=JUDGED, errors="ignore") for each in (ours, theirs))
    if other:
        listed = ", ".join(f"{name} ({', '.join(what)})" for name, what in other.items())
        lines.append(printable(f"Left out, because the two runs measured by different functions: {listed}"))
    compared = compare_rounds(ours, theirs, rewards, n_resamples, seed)
    rows: list[tuple[str, ...]] = [
        (_label(each, old, new), f"{each.base:.3f}", f"{each.last:.3f}", _difference(each), each.verdict)
        for each in compared
    ]
    rows += _diversity(ours, theirs, n_resamples, seed)
    return "\n".join([*lines, *_table([("", "A", "B", "B - A [95 % interval]", ""), *rows])]) + "\n"


def _other_function(name: str, old: Side, new: Side) -> list[str]:
    """Say in what a reward of one run is another function than the reward of this name of the other run."""
    changed = record_changes(*(side.scores.attrs.get("rewards", {}).get(name) for side in (old, new)))
    options = f"{_OPTIONS}{name}."
    if any(path.startswith(options) for path in changed_parameters(old.parameters, new.parameters)):
        changed.append("options")
    return [*changed, *_other_code(name, old, new)]


def _other_judge(old: Side, new: Side) -> list[str]:
    """Say in what the judge of one run is another one."""
    names = [side.parameters.get(_JUDGE) for side in (old, new)]
    return _other_code(str(names[0]), old, new) if names[0] == names[1] else [f"{names[0]} and {names[1]}"]


def _other_code(name: str, old: Side, new: Side) -> list[str]:
    known = {side.code[name] for side in (old, new) if name in side.code}
    return ["code"] if len(known) > 1 else []


def _changes(changed: Mapping[str, tuple[Any, Any]]) -> list[str]:
    if not changed:
        return ["No parameter that the steps read differs."]
    rows = [(name, *_values(values)) for name, values in changed.items()]
    return ["Parameters that differ:", *_table([("", "A", "B"), *rows])]


def _values(values: tuple[Any, Any]) -> list[str]:
    """Return two values as texts, and of long ones the part where they begin to differ."""
    texts = ["-" if value is None else printable(str(value)) for value in values]
    same = next((place for place, (ours, theirs) in enumerate(zip(*texts)) if ours != theirs), min(map(len, texts)))
    start = max(0, same - 20) if max(map(len, texts)) > _WIDTH else 0
    cut = [text[start : start + _WIDTH] for text in texts]
    return [
        f"{'…' if start else ''}{part}{'…' if len(text) > start + _WIDTH else ''}" for text, part in zip(texts, cut)
    ]


def _left_out(old: int, new: int) -> str:
    return f"; {old} images of A and {new} of B have no partner" if old or new else ""


def _label(item: Comparison, old: Side, new: Side) -> str:
    _, found, reward = item.name.partition("reward ")
    if not found:
        return item.name
    roles = dict.fromkeys(reward_label(reward, side.selecting) for side in (old, new))
    return f"reward {' / '.join(roles)}"


def _difference(item: Comparison) -> str:
    return f"{item.difference.mean:+.3f} {item.difference}"


def _diversity(old: pd.DataFrame, new: pd.DataFrame, n_resamples: int, seed: int) -> list[tuple[str, ...]]:
    """Compare the judge's diversity, where there is one; the embedding's is not in a table of scores."""
    if "left_open" not in old or "left_open" not in new:
        return []
    before, after = (open_diversity(each.dropna(subset="correct")) for each in (old, new))
    ratio = ratio_of_means(after, before, n_resamples, seed)
    if math.isnan(ratio.mean):
        return []
    means = f"{before.mean():.3f}", f"{after.mean():.3f}"
    return [("diversity", *means, ratio_text(ratio), ratio_verdict(ratio))]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
