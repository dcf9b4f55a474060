"""Connect the nodes of preference selection for one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.method.selection import select_samples
from rsidiff_kedro.pipelines.preference_selection import nodes
from rsidiff_kedro.pipelines.previews import preview_selection


def create_pipeline(round_number: int) -> Pipeline:
    """Create scores of a round's images, and the selection of those that are kept."""
    section = "params:preference_selection"
    scored = ["images", f"{section}.rewards", f"{section}.floors", "params:rewards"]
    return Pipeline(
        [
            node(nodes.score_images, scored, "scores", name="score_images"),
            node(
                select_samples,
                ["scores", section, "params:seed"],
                "selection",
                name="select_samples",
                preview_fn=preview_selection(round_number),
            ),
        ]
    )
