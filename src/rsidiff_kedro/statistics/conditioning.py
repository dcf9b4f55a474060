"""What of an image's features its prompt does not explain."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV

PENALTIES = (1.0, 10.0, 100.0)
"""Of the ridge regression; leave-one-out error chooses."""


class PromptRegression:
    """Features as a linear function of the words and word pairs of their prompts, by ridge regression."""

    def __init__(self, words: CountVectorizer, regression: RidgeCV) -> None:
        self._words, self._regression = words, regression

    @classmethod
    def fit(cls, prompts: Sequence[str], features: np.ndarray) -> Self:
        """Fit to the prompts [n] and features [n, d] of reference images."""
        # Words, and runs of other signs, so that no prompt is without a word.
        words = CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\w+|[^\w\s]+", max_features=2000)
        regression = RidgeCV(alphas=PENALTIES).fit(words.fit_transform(prompts).toarray(), features)
        return cls(words, regression)

    def residuals(self, prompts: Sequence[str], features: np.ndarray) -> np.ndarray:
        """What the prompts [n] leave unexplained of the features [n, d]: float64 [n, d]; unknown words say nothing."""
        return np.asarray(features, np.float64) - self._regression.predict(self._words.transform(prompts).toarray())
