"""Connect the nodes of the report."""

from collections.abc import Mapping

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.common import SELECTING
from rsidiff_kedro.pipelines.report import nodes
from rsidiff_kedro.pipelines.stage import bind
from rsidiff_kedro.reporting import figures

CURATED = [
    "collected_prompts",
    "rejected_by_filter",
    "prompt_candidates",
    "probe_scores",
    "rejected_by_probe",
    "prompt_pool",
]


def create_pipeline(rounds: Mapping[str, Mapping[int, str]]) -> Pipeline:
    """Create plots, categories, counts, summary and report of all rounds.

    Args:
        rounds: by a dataset's name, its full name in each round that has it, the base first.
    """
    metrics, images, scores = ([*rounds[name].values()] for name in ("metrics", "test_images", "test_scores"))
    logs, selections, weights, samples = (
        [*rounds[name].values()][1:] for name in ("training_log", "selection", "weights", "training_samples")
    )
    tested = [*rounds["test_scores"]]
    categorize, report = (bind(each, tested=tested) for each in (nodes.score_categories, nodes.make_report))
    plots = {
        "accuracy_plot": figures.accuracy_figure,
        "hallucination_rate_plot": figures.hallucination_rate_figure,
        "diversity_plot": figures.diversity_figure,
    }
    bootstrap = ["params:evaluation.bootstrap_resamples", "params:seed"]
    by_category = [*bootstrap, "test_prompts", *metrics, *scores]
    summarized = [*bootstrap, *SELECTING, "category_scores", scores[0], scores[-1], *metrics]
    selection = ["params:preference_selection", "params:synthesis.early_dropping"]
    shown = [*selection, "summary", "category_scores", "funnel", "loss_plot", "test_prompts"]
    return Pipeline(
        [
            *(node(plot, metrics, name, name=f"make_{name}") for name, plot in plots.items()),
            node(nodes.plot_rewards, [*SELECTING, *metrics], "reward_plot", name="make_reward_plot"),
            node(figures.loss_figure, logs, "loss_plot", name="make_loss_plot"),
            node(nodes.count_kept, [*CURATED, *selections, *weights], "funnel", name="count_kept"),
            node(categorize, by_category, "category_scores", name="score_categories"),
            node(nodes.summarize, summarized, "summary", name="summarize"),
            node(report, [*shown, *metrics, *images, *scores, *samples], "report", name="make_report"),
        ]
    )
