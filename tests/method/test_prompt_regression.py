"""Regression on prompts: what the prompts explain is subtracted from the features, and nothing else."""

import numpy as np

from rsidiff_kedro.method.weighting import PromptRegression

COLORS = {"red": (1.0, 0.0), "green": (0.0, 1.0), "blue": (0.5, 0.5)}


def colored(rng: np.random.Generator, count: int) -> tuple[list[str], np.ndarray]:
    """Return prompts that name a color, and features that follow the color with a little noise."""
    names = rng.choice(list(COLORS), count)
    features = np.array([COLORS[name] for name in names]) + 0.01 * rng.standard_normal((count, 2))
    return [f"a {name} circle" for name in names], features


def test_what_the_words_say_is_subtracted() -> None:
    rng = np.random.default_rng(0)
    fitted = PromptRegression.fit(*colored(rng, 300))
    prompts, features = colored(rng, 100)
    assert np.abs(fitted.residuals(prompts, features)).max() < 0.1
    assert np.abs(features - features.mean(0)).max() > 0.3


def test_an_image_that_belies_its_prompt_stands_out() -> None:
    rng = np.random.default_rng(0)
    fitted = PromptRegression.fit(*colored(rng, 300))
    belying = fitted.residuals(["a red circle"], np.array([COLORS["green"]]))
    assert np.abs(belying).max() > 0.8


def test_unknown_words_explain_nothing() -> None:
    prompts, features = colored(np.random.default_rng(0), 300)
    fitted = PromptRegression.fit(prompts, features)
    assert np.isfinite(fitted.residuals(["ein roter Kreis", ""], features[:2])).all()
    unknown, nothing = (fitted.residuals([prompt], features[:1]) for prompt in ("ein roter Kreis", ""))
    np.testing.assert_array_equal(unknown, nothing)


def test_prompts_without_a_letter_are_no_obstacle() -> None:
    features = np.random.default_rng(0).standard_normal((4, 2))
    fitted = PromptRegression.fit(["!!", "??", "!!", "??"], features)
    assert np.isfinite(fitted.residuals(["!!"], features[:1])).all()
