"""The nodes of preference selection in one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.method.selection import select_samples
from rsidiff_kedro.pipelines.preference_selection import nodes

SECTION = "params:preference_selection"


def create_pipeline(round_number: int) -> Pipeline:
    """Create scores of a round's images, and the selection of those that are kept."""
    return Pipeline(
        [
            node(
                nodes.score_images,
                ["images", f"{SECTION}.rewards", f"{SECTION}.floors", "params:rewards"],
                "scores",
                name="score_images",
            ),
            node(select_samples, ["scores", SECTION, "params:seed"], "selection", name="select_samples"),
        ]
    )
