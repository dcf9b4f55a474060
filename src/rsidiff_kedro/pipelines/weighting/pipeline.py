"""Connect the nodes of weighting for one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.weighting import nodes


def create_pipeline(round_number: int) -> Pipeline:
    """Create the weights of a round's kept images."""
    inputs = ["images", "selection", "base_images", "params:weighting", "params:rewards"]
    return Pipeline([node(nodes.weigh_samples, inputs, "weights", name="weigh_samples")])
