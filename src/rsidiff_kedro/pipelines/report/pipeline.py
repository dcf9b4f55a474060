"""The wiring of the report."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.report import nodes


def create_pipeline(rounds: int) -> Pipeline:
    """The report over round 0 (the base) to `rounds`.

    Args:
        rounds: how many rounds are trained, 1 or more.
    """
    metrics, images, scores = (
        [f"rsi.round_{number}.{name}" for number in range(rounds + 1)]
        for name in ("metrics", "test_images", "test_scores")
    )
    plots = ["accuracy_plot", "reward_plot", "hallucination_rate_plot", "diversity_plot"]
    bootstrap = ["params:evaluation.bootstrap_resamples", "params:seed"]
    return Pipeline(
        [
            node(nodes.plot_accuracy, metrics, plots[0], name="plot_accuracy"),
            node(nodes.plot_reward, metrics, plots[1], name="plot_reward"),
            node(nodes.plot_hallucination_rate, metrics, plots[2], name="plot_hallucination_rate"),
            node(nodes.plot_diversity, metrics, plots[3], name="plot_diversity"),
            node(
                nodes.score_categories,
                [*bootstrap, "test_prompts", *metrics, *scores],
                "category_scores",
                name="score_categories",
            ),
            node(
                nodes.summarize,
                [*bootstrap, "category_scores", scores[0], scores[-1], *metrics],
                "summary",
                name="summarize",
            ),
            node(
                nodes.make_report,
                [*plots, "summary", "category_scores", *metrics, *images, *scores],
                "report",
                name="make_report",
            ),
        ],
        tags="report",
    )
