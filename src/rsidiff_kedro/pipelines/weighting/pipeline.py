"""Connect the nodes of weighting for one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.common import SELECTING
from rsidiff_kedro.pipelines.previews import preview_weighting
from rsidiff_kedro.pipelines.weighting import nodes


def create_pipeline(round_number: int) -> Pipeline:
    """Create the weights of a round's kept images, and samples of what it trains on for the report."""
    weighed = ["images", "selection", "base_images", "params:weighting", "params:rewards", "params:model"]
    shown = ["images", "selection", "weights", *SELECTING]
    return Pipeline(
        [
            node(
                nodes.weigh_kept_images,
                weighed,
                "weights",
                name="weigh_samples",
                preview_fn=preview_weighting(round_number),
            ),
            node(nodes.show_training_samples, shown, "training_samples", name="show_training_samples"),
        ]
    )
