"""Node functions of the report."""

import logging
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from rsidiff_kedro.evaluation import categories
from rsidiff_kedro.execution.run_facts import run_facts
from rsidiff_kedro.method.selecting import selecting_rewards
from rsidiff_kedro.method.settings import EarlyDroppingSettings, SelectionSettings
from rsidiff_kedro.reporting import figures
from rsidiff_kedro.reporting.category_table import category_html, category_text
from rsidiff_kedro.reporting.funnel import funnel
from rsidiff_kedro.reporting.gallery import gallery
from rsidiff_kedro.reporting.report import Contents, report_html
from rsidiff_kedro.reporting.summary import summary_text
from rsidiff_kedro.reporting.values import Metrics, accepted_round, reward_names

logger = logging.getLogger("rsidiff_kedro")


def plot_rewards(
    selects: bool,
    selection_rewards: dict[str, float],
    floors: dict[str, float],
    early_dropping: EarlyDroppingSettings | None,
    *metrics: Metrics,
) -> go.Figure:
    """Plot each reward, marked as one that selects or is held out."""
    selecting = selecting_rewards(selects, selection_rewards, floors, early_dropping)
    return figures.reward_figure(*metrics, selecting=selecting)


def score_categories(
    n_resamples: int, seed: int, test_prompts: pd.DataFrame, *rounds: Any, tested: list[int]
) -> pd.DataFrame:
    """Measure every tested round by category; `rounds` are all metrics, then the tested rounds' test scores."""
    metrics, scores = rounds[: -len(tested)], rounds[-len(tested) :]
    return categories.category_scores(test_prompts, scores, reward_names(metrics), n_resamples, seed, tested)


def count_kept(
    collected: pd.DataFrame,
    by_filter: pd.DataFrame,
    candidates: pd.DataFrame,
    probe_scores: pd.DataFrame,
    by_probe: pd.DataFrame,
    pool: pd.DataFrame,
    *rounds: pd.DataFrame,
) -> dict[str, Any]:
    """Count what each step kept of prompts and samples; `rounds` are all selections, then all weights."""
    selections, weights = rounds[: len(rounds) // 2], rounds[len(rounds) // 2 :]
    probed = probe_scores["prompt_id"].nunique()
    return funnel(collected, by_filter, candidates, probed, by_probe, pool, selections, weights)


def summarize(
    n_resamples: int,
    seed: int,
    selects: bool,
    selection_rewards: dict[str, float],
    floors: dict[str, float],
    early_dropping: EarlyDroppingSettings | None,
    by_category: pd.DataFrame,
    base_scores: pd.DataFrame,
    last_scores: pd.DataFrame,
    *metrics: Metrics,
) -> str:
    """Say what improved from the base to the last round, with intervals, and log it."""
    selecting = selecting_rewards(selects, selection_rewards, floors, early_dropping)
    lines = category_text(by_category, selecting)
    facts = run_facts()
    summary = summary_text(metrics, base_scores, last_scores, n_resamples, seed, lines, selecting, facts.adapter_places)
    logger.info("%s", summary)
    used = facts.adapters.get(accepted_round(metrics))
    if used is not None:
        logger.info("Adapter in use: %s", used)
    return summary


def make_report(
    selection: SelectionSettings,
    early_dropping: EarlyDroppingSettings | None,
    summary: str,
    by_category: pd.DataFrame,
    kept: dict[str, Any],
    loss: go.Figure,
    test_prompts: pd.DataFrame,
    *rounds: Any,
    tested: list[int],
) -> str:
    """Write everything into one HTML file.

    `rounds` are all metrics, then the tested rounds' test images, then their test scores, then the training samples
    from round 1 on.
    """
    count, size = len(tested), (len(rounds) + 1) // 2 - len(tested)
    metrics, rest = rounds[:size], rounds[size:]
    images, scores, training = rest[:count], rest[count : 2 * count], rest[2 * count :]
    selecting = selecting_rewards(selection.enabled, selection.rewards, selection.floors, early_dropping)
    contents = Contents(
        rounds=metrics,
        summary=summary,
        selecting=selecting,
        gallery=gallery(images, scores, test_prompts, reward_names(metrics), selection, selecting, tested),
        categories=category_html(by_category, selecting),
        training=training,
        funnel=kept,
        loss=loss,
        facts=run_facts(),
    )
    return report_html(contents)
