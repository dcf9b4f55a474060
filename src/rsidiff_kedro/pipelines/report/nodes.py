"""Node functions of the report."""

import logging
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rsidiff_kedro.evaluation import categories
from rsidiff_kedro.reporting.category_table import category_html, category_text
from rsidiff_kedro.reporting.figures import Metrics, reward_names
from rsidiff_kedro.reporting.gallery import gallery_html
from rsidiff_kedro.reporting.report import report_html
from rsidiff_kedro.reporting.summary import summary_text

logger = logging.getLogger("rsidiff_kedro")


def score_categories(n_resamples: int, seed: int, test_prompts: pd.DataFrame, *rounds: Any) -> pd.DataFrame:
    """Measure every round by category; `rounds` are all metrics, then all test scores."""
    metrics, test_scores = rounds[: len(rounds) // 2], rounds[len(rounds) // 2 :]
    return categories.category_scores(test_prompts, test_scores, reward_names(metrics), n_resamples, seed)


def summarize(
    n_resamples: int,
    seed: int,
    by_category: pd.DataFrame,
    base_scores: pd.DataFrame,
    last_scores: pd.DataFrame,
    *metrics: Metrics,
) -> str:
    """Say what improved from the base to the last round, with intervals, and log it."""
    summary = summary_text(metrics, base_scores, last_scores, n_resamples, seed, category_text(by_category))
    logger.info("%s", summary)
    return summary


def make_report(
    accuracy: go.Figure,
    reward: go.Figure,
    hallucination_rate: go.Figure,
    diversity: go.Figure,
    summary: str,
    by_category: pd.DataFrame,
    *rounds: Any,
) -> str:
    """Write everything into one HTML file; `rounds` are all metrics, then all test images, then all test scores."""
    size = len(rounds) // 3
    metrics, test_images, test_scores = rounds[:size], rounds[size : 2 * size], rounds[2 * size :]
    gallery, table = gallery_html(test_images, test_scores), category_html(by_category)
    return report_html([accuracy, reward, hallucination_rate, diversity], metrics, gallery, summary, table)
