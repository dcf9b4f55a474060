"""Fit a Bradley-Terry model to votes (Bradley and Terry, Biometrika 1952): a linear head on features of images.

A person prefers image a to image b with probability 1 / (1 + exp(-w (f(a) - f(b)))), where f are features. Logistic
regression on the differences finds w; a penalty, half its factor times w w, keeps w small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold

from rsidiff_kedro.core.votes import VotesError

FOLDS = 5
PENALTIES = (1e5, 1e4, 1e3, 1e2, 1e1, 1.0)
"""Factors that cross-validation tries; of equal ones the first wins."""


@dataclass(frozen=True)
class Head:
    """A fitted model.

    Attributes:
        weights: float64 [d].
        penalty: its factor.
    """

    weights: np.ndarray
    penalty: float


def fit_head(differences: np.ndarray, won: np.ndarray, prompts: Sequence[str], penalty: float | None = None) -> Head:
    """Fit the head.

    Args:
        differences: features of one image minus those of the other, [n, d].
        won: whether the first image was preferred, [n].
        prompts: the prompt of each vote; cross-validation holds whole prompts out.
        penalty: its factor; None: the one of `PENALTIES` with the least cross-validated log loss.

    Raises:
        VotesError: there is one prompt, so nothing can be cross-validated.
    """
    # Each vote also the other way around, so both classes exist and the head has no preference for a side.
    both, classes = np.vstack([differences, -differences]), np.concatenate([won, ~won])
    model = LogisticRegression(fit_intercept=False, max_iter=10_000)
    if penalty is None:
        groups = np.concatenate([prompts, prompts])
        found = GridSearchCV(
            model,
            {"C": [_inverse(each) for each in PENALTIES]},
            scoring="neg_log_loss",
            cv=list(_folds(groups).split(both, groups=groups)),
            refit=False,
        ).fit(both, classes)
        penalty = PENALTIES[found.best_index_]
    fitted = model.set_params(C=_inverse(penalty)).fit(both, classes)
    return Head(fitted.coef_[0], penalty)


def held_out_margins(
    differences: np.ndarray, won: np.ndarray, prompts: Sequence[str], penalty: float | None = None
) -> np.ndarray:
    """Return each vote's margin from a head that was fitted on the votes of other prompts: [n]."""
    groups, margins = np.asarray(prompts), np.empty(len(differences))
    for train, test in _folds(groups).split(differences, groups=groups):
        head = fit_head(differences[train], won[train], groups[train].tolist(), penalty)
        margins[test] = differences[test] @ head.weights
    return margins


def _inverse(penalty: float) -> float:
    return 0.5 / penalty  # half, because each vote is there twice


def _folds(groups: np.ndarray) -> GroupKFold:
    count = len(np.unique(groups))
    if count < 2:
        raise VotesError("all votes are on one prompt, so none can be held out; give more with `kedro rsi label`")
    return GroupKFold(min(FOLDS, count))
