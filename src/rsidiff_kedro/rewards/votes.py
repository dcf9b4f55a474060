"""Score images as a person would who gave the votes of `kedro rsi label`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rsidiff_kedro.core.votes import LEFT, TIE, Votes, VotesError, given_by, newest_votes, read_votes
from rsidiff_kedro.rewards.bradley_terry import FOLDS, fit_head, held_out_margins
from rsidiff_kedro.rewards.protocol import FITTED_ON, Features, as_vectors
from rsidiff_kedro.rewards.registry import FEATURES, check_features, load_features

AT_ONCE = 128
"""Images whose features are asked for in one call, while a head is fitted."""


@dataclass(frozen=True)
class _Evidence:
    """The decided votes, as the head is fitted on them.

    Attributes:
        differences: of the inputs, left minus right, in units of `spread`: float64 [n, d].
        won: whether the left image was preferred, [n].
        prompts: of each vote.
        spread: of each input over the images; infinite where they are all the same: [d].
    """

    differences: np.ndarray
    won: np.ndarray
    prompts: list[str]
    spread: np.ndarray


class VotesReward:
    """A Bradley-Terry head on a reward's image features and, where it has one, its score.

    It is fitted when it is opened. Its score is in log odds: of two images of a prompt, the one that scores 1 more is
    preferred 73 times in 100. Compare scores within a prompt.
    """

    def __init__(
        self,
        votes: Path,
        features: str,
        penalty: float | None = None,
        min_votes: int = 20,
        feature_options: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Open the features and fit the head; see `VotesSettings`.

        Raises:
            VotesError: votes are missing, damaged or too few.
        """
        found = _enough_votes(votes, penalty, min_votes)
        self._name, self._features = features, load_features(features, **(feature_options or {}))
        evidence = _evidence(found, features, self._features)
        head = fit_head(evidence.differences, evidence.won, evidence.prompts, penalty)
        self._weights = head.weights / evidence.spread
        fitted = {"votes": len(evidence.won), "sha256": found.digest, "features": features, "penalty": head.penalty}
        self.record = {FITTED_ON: fitted, **getattr(self._features, "record", {})}

    @classmethod
    def check(
        cls,
        votes: Path,
        features: str,
        penalty: float | None = None,
        min_votes: int = 20,
        feature_options: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Raise the errors of opening it, without computing, and one while votes are given."""
        found = _enough_votes(votes, penalty, min_votes)
        if giver := given_by(found.folder):
            raise VotesError(
                f"votes are being given to {found.folder}, and they must not change during a run; end `kedro rsi "
                f"label` first: {giver}"
            )
        check_features(features, **(feature_options or {}))

    @classmethod
    def token_counts(
        cls, prompts: Sequence[str], features: str, feature_options: Mapping[str, Any] | None = None, **_: Any
    ) -> tuple[list[int], int]:
        """Return the tokens of each prompt and how many are read, as the reward says whose features these are."""
        plugin = FEATURES.load(features)
        if not hasattr(plugin, "token_counts"):
            return [0] * len(prompts), 0
        counts: tuple[list[int], int] = plugin.token_counts(prompts, **(feature_options or {}))
        return counts

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return log odds: float32 [n]."""
        return (_inputs(self._name, self._features, images, prompts) @ self._weights).astype(np.float32)


def margins_without_own_prompt(
    votes: Votes, features: str, penalty: float | None = None, feature_options: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Return each decided vote's margin, left over right, from heads that were fitted on other prompts' votes: [n]."""
    evidence = _evidence(votes, features, load_features(features, **(feature_options or {})))
    return held_out_margins(evidence.differences, evidence.won, evidence.prompts, penalty)


def _inputs(name: str, features: Features, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
    """Return what the head reads: float64 [n, d], the features, then the score."""
    columns = as_vectors(features.embed(images, prompts), len(prompts), name).astype(np.float64)
    if hasattr(features, "score"):
        columns = np.column_stack([columns, np.asarray(features.score(images, prompts), np.float64)])
    return columns


def _evidence(votes: Votes, name: str, features: Features) -> _Evidence:
    pictures, images = votes.pictures()
    texts = pictures["text"].tolist()
    parts = [slice(start, start + AT_ONCE) for start in range(0, len(texts), AT_ONCE)]
    inputs = np.concatenate([_inputs(name, features, images[part], texts[part]) for part in parts])
    spread = inputs.std(axis=0)
    spread[spread <= 1e-9 * np.abs(inputs).max(axis=0)] = np.inf
    decides = (votes.table["winner"] != TIE).to_numpy()
    left, right = (rows[decides] for rows in votes.places(pictures))
    return _Evidence(
        (inputs[left] - inputs[right]) / spread,
        (votes.decided["winner"] == LEFT).to_numpy(),
        votes.decided["prompt_id"].tolist(),
        spread,
    )


def _enough_votes(folder: Path, penalty: float | None, min_votes: int) -> Votes:
    found = read_votes(newest_votes(folder))
    decided = found.decided
    if len(decided) < min_votes:
        raise VotesError(
            f"{len(decided)} votes in {found.folder} prefer an image; rewards.votes.min_votes asks for {min_votes}, so "
            "give more with `kedro rsi label`"
        )
    prompts = decided["prompt_id"].nunique()
    if penalty is None and prompts < FOLDS:
        raise VotesError(
            f"the votes in {found.folder} are on {prompts} prompts, and cross-validation needs {FOLDS}; give more with "
            "`kedro rsi label`, or set rewards.votes.penalty"
        )
    return found
