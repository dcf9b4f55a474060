"""Wiring of weighting in one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.weighting import nodes


def create_pipeline() -> Pipeline:
    """Weights of a round's kept images."""
    return Pipeline(
        [
            node(
                nodes.weigh_samples,
                ["images", "selection", "base_images", "params:weighting", "params:rewards"],
                "weights",
                name="weigh_samples",
            )
        ],
        tags="weighting",
    )
