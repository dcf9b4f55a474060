"""Regression on prompts: what the prompts explain is subtracted from the features, and nothing else."""

from collections.abc import Sequence

import numpy as np
import pytest

from rsidiff_kedro.method.settings import WeightingSettings
from rsidiff_kedro.method.weighting import PromptRegression, describe_by_embedding, describe_by_words, weigh_samples

COLORS = {"red": (1.0, 0.0), "green": (0.0, 1.0), "blue": (0.5, 0.5)}


def colored(rng: np.random.Generator, count: int) -> tuple[list[str], np.ndarray]:
    """Return different prompts that name a color, and features that follow the color with a little noise."""
    names = rng.choice(list(COLORS), count)
    features = np.array([COLORS[name] for name in names]) + 0.01 * rng.standard_normal((count, 2))
    return [f"a {name} circle of size {rng.integers(10**6)}" for name in names], features


def fit_to_words(prompts: list[str], features: np.ndarray) -> PromptRegression:
    return PromptRegression.fit(prompts, features, describe_by_words(prompts))


def test_what_the_words_say_is_subtracted() -> None:
    rng = np.random.default_rng(0)
    fitted = fit_to_words(*colored(rng, 300))
    prompts, features = colored(rng, 100)
    assert np.abs(fitted.residuals(prompts, features)).max() < 0.1
    assert np.abs(features - features.mean(0)).max() > 0.3


def test_an_image_that_belies_its_prompt_stands_out() -> None:
    rng = np.random.default_rng(0)
    fitted = fit_to_words(*colored(rng, 300))
    belying = fitted.residuals(["a red circle"], np.array([COLORS["green"]]))
    assert np.abs(belying).max() > 0.8


def test_unknown_words_explain_nothing() -> None:
    prompts, features = colored(np.random.default_rng(0), 300)
    fitted = fit_to_words(prompts, features)
    assert np.isfinite(fitted.residuals(["ein roter Kreis", ""], features[:2])).all()
    unknown, nothing = (fitted.residuals([prompt], features[:1]) for prompt in ("ein roter Kreis", ""))
    np.testing.assert_array_equal(unknown, nothing)


def test_marks_that_no_reader_sees_are_no_words() -> None:
    prompts, features = colored(np.random.default_rng(0), 300)
    fitted = fit_to_words(prompts, features)
    hidden = [prompt.replace(" ", "\ufe0f ") for prompt in prompts]
    np.testing.assert_array_equal(fitted.residuals(hidden, features), fitted.residuals(prompts, features))


def test_prompts_without_a_letter_are_no_obstacle() -> None:
    features = np.random.default_rng(0).standard_normal((4, 2))
    fitted = fit_to_words(["!!", "??", "!!", "??"], features)
    assert np.isfinite(fitted.residuals(["!!"], features[:1])).all()


def embed(prompts: Sequence[str]) -> np.ndarray:
    """A text encoder that knows colors, whatever the words around them."""
    return np.array([next(value for name, value in COLORS.items() if name in prompt) for prompt in prompts])


def test_what_the_text_encoder_says_is_subtracted_also_where_prompts_share_no_word() -> None:
    rng = np.random.default_rng(0)
    prompts, features = colored(rng, 300)
    prompts = [f"{number}{prompt.replace(' ', '')}" for number, prompt in enumerate(prompts)]
    by_words = fit_to_words(prompts, features)
    by_embedding = PromptRegression.fit(prompts, features, describe_by_embedding(prompts, embed))
    assert np.abs(by_embedding.residuals(prompts, features)).max() < 0.1
    assert np.abs(by_words.residuals(prompts, features)).max() > 0.3


def test_common_mistakes_of_a_prompt_s_images_are_not_explained_by_its_own_words() -> None:
    """Four images of each prompt are alike, and prompts have nothing in common; see `fit`."""
    rng = np.random.default_rng(0)
    prompts = [f"word{number // 4}" for number in range(160)]
    features = np.repeat(rng.standard_normal((40, 3)), 4, axis=0) + 0.01 * rng.standard_normal((160, 3))
    left = fit_to_words(prompts, features).residuals(prompts, features)
    assert left.std() > 0.99 * (features - features.mean(0)).std()


@pytest.mark.parametrize("kind", [None, "words", "text_encoder"])
def test_a_sample_that_belies_its_prompt_weighs_less_only_if_prompts_are_read(kind) -> None:
    prompts, features = colored(np.random.default_rng(0), 300)
    settings = WeightingSettings(features="proxy", condition_on_prompts=kind)
    kept = np.array([COLORS["red"], COLORS["green"]])
    weights = weigh_samples(features, prompts, kept, ["a red circle"] * 2, settings, embed)["weight"]
    assert (weights[1] < 0.1 * weights[0]) == (kind is not None)


def test_an_embedding_without_a_text_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match="needs embed"):
        describe_by_embedding(["a"], None)


def test_one_prompt_alone_explains_the_mean() -> None:
    features = np.random.default_rng(0).standard_normal((4, 2))
    fitted = fit_to_words(["a red circle"] * 4, features)
    np.testing.assert_allclose(fitted.residuals(["a red circle"] * 4, features), features - features.mean(0))
