"""Connect the nodes of the report."""

from collections.abc import Mapping

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.report import nodes
from rsidiff_kedro.reporting import figures


def create_pipeline(rounds: Mapping[str, list[str]]) -> Pipeline:
    """Create plots, categories, summary and report of all rounds.

    Args:
        rounds: by a dataset's name, its full name in each round, the base first.
    """
    metrics, images, scores = rounds["metrics"], rounds["test_images"], rounds["test_scores"]
    plots = {
        "accuracy_plot": figures.accuracy_figure,
        "reward_plot": figures.reward_figure,
        "hallucination_rate_plot": figures.hallucination_rate_figure,
        "diversity_plot": figures.diversity_figure,
    }
    bootstrap = ["params:evaluation.bootstrap_resamples", "params:seed"]
    by_category = [*bootstrap, "test_prompts", *metrics, *scores]
    summarized = [*bootstrap, "category_scores", scores[0], scores[-1], *metrics]
    reported = [*plots, "summary", "category_scores", *metrics, *images, *scores]
    return Pipeline(
        [
            *(node(plot, metrics, name, name=f"make_{name}") for name, plot in plots.items()),
            node(nodes.score_categories, by_category, "category_scores", name="score_categories"),
            node(nodes.summarize, summarized, "summary", name="summarize"),
            node(nodes.make_report, reported, "report", name="make_report"),
        ]
    )
