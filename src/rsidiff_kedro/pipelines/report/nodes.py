"""What the rounds changed, to look at and to read."""

import logging
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rsidiff_kedro.reporting import figures
from rsidiff_kedro.reporting.categories import category_html, category_scores, category_text, has_categories
from rsidiff_kedro.reporting.gallery import gallery_html
from rsidiff_kedro.reporting.report import report_html
from rsidiff_kedro.reporting.summary import summary_text

logger = logging.getLogger("rsidiff_kedro")


def plot_accuracy(*metrics: figures.Metrics) -> go.Figure:
    """The judge's accuracy, a point a round."""
    return figures.accuracy_figure(metrics)


def plot_reward(*metrics: figures.Metrics) -> go.Figure:
    """Every reward, a point a round."""
    return figures.reward_figure(metrics)


def plot_hallucination_rate(*metrics: figures.Metrics) -> go.Figure:
    """The judge's hallucination rate, a point a round."""
    return figures.hallucination_rate_figure(metrics)


def plot_diversity(*metrics: figures.Metrics) -> go.Figure:
    """Diversity within a prompt and distance to the base, a point a round."""
    return figures.diversity_figure(metrics)


def score_categories(n_resamples: int, seed: int, test_prompts: pd.DataFrame, *rounds: Any) -> pd.DataFrame:
    """Every round's measures by category; `rounds` are all metrics, then all test scores."""
    metrics, test_scores = rounds[: len(rounds) // 2], rounds[len(rounds) // 2 :]
    return category_scores(test_prompts, test_scores, figures.reward_names(metrics), n_resamples, seed)


def summarize(
    n_resamples: int,
    seed: int,
    categories: pd.DataFrame,
    base_scores: Any,
    last_scores: Any,
    *metrics: figures.Metrics,
) -> str:
    """What improved from the base to the last round, with intervals; also logged."""
    summary = summary_text(metrics, base_scores, last_scores, n_resamples, seed, category_text(categories))
    logger.info("%s", summary)
    return summary


def make_report(
    accuracy: go.Figure,
    reward: go.Figure,
    hallucination_rate: go.Figure,
    diversity: go.Figure,
    summary: str,
    categories: pd.DataFrame,
    *rounds: Any,
) -> str:
    """One HTML file of everything; `rounds` are all metrics, then all test images, then all test scores."""
    metrics, test_images, test_scores = _thirds(rounds)
    gallery = gallery_html(test_images, test_scores)
    by_category = category_html(categories) if has_categories(categories) else ""
    return report_html([accuracy, reward, hallucination_rate, diversity], metrics, gallery, summary, by_category)


def _thirds(values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    size = len(values) // 3
    return values[:size], values[size : 2 * size], values[2 * size :]
