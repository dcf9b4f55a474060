"""Measure how often rewards and the judge prefer the image that a person preferred."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsidiff_kedro.core.votes import LEFT, Votes
from rsidiff_kedro.evaluation.intervals import Interval, bootstrap_mean
from rsidiff_kedro.evaluation.judging import judge_readable
from rsidiff_kedro.rewards.bradley_terry import FOLDS
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.rewards.votes import margins_without_own_prompt

VOTES = "votes"
"""The reward that is fitted on the votes; it is measured on votes that it was not fitted on."""


@dataclass(frozen=True)
class Agreement:
    """Hold how far one measure agrees with the votes.

    Attributes:
        share: of the votes in which it prefers the same image, with its interval; no preference counts as half.
        compared: votes that were compared.
        undecided: those of them in which it prefers no image.
    """

    share: Interval
    compared: int
    undecided: int


def agreement(margins: np.ndarray, votes: pd.DataFrame, n_resamples: int, seed: int) -> Agreement | None:
    """Compare margins, left over right, with votes that prefer an image; None without any.

    Args:
        margins: [n]; NaN leaves a vote out.
        votes: a table with winner and prompt_id, [n].
        n_resamples: of the prompts, for the interval.
        seed: of the resampling.
    """
    known = np.isfinite(margins)
    if not known.any():
        return None
    right = np.where(votes["winner"] == LEFT, margins, -margins)[known]
    values = np.where(right == 0, 0.5, right > 0)
    share = bootstrap_mean(values, votes["prompt_id"].to_numpy()[known], n_resamples, seed)
    return Agreement(share, int(known.sum()), int((right == 0).sum()))


def reward_agreements(
    votes: Votes, names: Sequence[str], settings: RewardsSettings, n_resamples: int, seed: int
) -> dict[str, Agreement | None]:
    """Return each reward's agreement with the votes; None for a head that cannot be fitted without a prompt's votes."""
    pictures, images = votes.pictures()
    plain = [name for name in names if name != VOTES]
    scores = with_scores(pictures, images, plain, settings)
    found = {name: _of_scores(votes, pictures, scores[name], n_resamples, seed) for name in plain}
    if VOTES in names and votes.decided["prompt_id"].nunique() < FOLDS:
        found[VOTES] = None
    elif VOTES in names:
        own = settings.votes
        margins = margins_without_own_prompt(votes, own.features, own.penalty, settings.options(own.features))
        found[VOTES] = agreement(margins, votes.decided, n_resamples, seed)
    return found


def judge_agreement(votes: Votes, name: str, n_resamples: int, seed: int) -> Agreement | None:
    """Return the judge's agreement on the prompts that it can read.

    It prefers a right image; of two right or two wrong ones, that with more right attributes, then with fewer
    hallucinations.
    """
    pictures, images = votes.pictures()
    verdicts = judge_readable(name, images, pictures["text"].tolist())
    grades = verdicts[["correct", "attribute_accuracy"]].astype(float)
    grades["sound"] = -verdicts["hallucinations"].astype(float)
    ranks = grades.groupby([*grades]).ngroup().where(grades.notna().all(axis="columns"))  # in their order
    return _of_scores(votes, pictures, ranks, n_resamples, seed)


def _of_scores(
    votes: Votes, pictures: pd.DataFrame, scores: pd.Series, n_resamples: int, seed: int
) -> Agreement | None:
    left, right = votes.places(pictures)
    values = scores.to_numpy(float)
    decides = votes.table.index.isin(votes.decided.index)
    return agreement((values[left] - values[right])[decides], votes.decided, n_resamples, seed)


def agreement_text(votes: Votes, found: Mapping[str, Agreement | None]) -> str:
    """Write how many votes there are, and a table of agreements by the measure's name."""
    decided, prompts = len(votes.decided), votes.table["prompt_id"].nunique()
    ties = len(votes) - decided
    head = f"{len(votes)} votes on {prompts} prompts: {decided} prefer an image, {ties} neither"
    if not decided:
        return f"{head}\n"
    width = max(map(len, found), default=0)
    lines = [
        head,
        "",
        "Share in which each prefers the same image [95 % interval over prompts]; chance is 0.5",
    ]
    return "\n".join([*lines, *(f"  {name:{width}}  {_row(each)}" for name, each in found.items())]) + "\n"


def _row(found: Agreement | None) -> str:
    if found is None:
        return "too few votes"
    share = found.share
    interval = "no interval" if math.isnan(share.low) else f"[{share.low:.3f}, {share.high:.3f}]"
    undecided = f"; {found.undecided} without a preference count as half" if found.undecided else ""
    return f"{share.mean:.3f} {interval} of {found.compared}{undecided}"
