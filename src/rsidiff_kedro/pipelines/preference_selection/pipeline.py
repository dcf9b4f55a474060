"""Wiring of preference selection in one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.preference_selection import nodes
from rsidiff_kedro.rewards.selection import select_samples


def create_pipeline() -> Pipeline:
    """Scores of a round's images, and which of them are kept."""
    section = "params:preference_selection"
    return Pipeline(
        [
            node(
                nodes.score_images,
                ["images", f"{section}.rewards", f"{section}.floors", "params:rewards"],
                "scores",
                name="score_images",
            ),
            node(select_samples, ["scores", section, "params:seed"], "selection", name="select_samples"),
        ],
        tags="preference_selection",
    )
