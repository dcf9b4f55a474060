"""Wiring of synthesis in one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.rounds import bind
from rsidiff_kedro.pipelines.synthesis import nodes
from rsidiff_kedro.prompts.pool import draw_round_prompts


def create_pipeline(round_number: int) -> Pipeline:
    """Prompts and images of a round."""
    return Pipeline(
        [
            node(
                bind(draw_round_prompts, round_number),
                ["prompt_pool", "params:prompt_curation.prompts_per_round", "params:seed"],
                "prompts",
                name="draw_prompts",
            ),
            node(
                bind(nodes.draw_images, round_number),
                ["prompts", "parent", "params:model", "params:synthesis", "params:seed"],
                "images",
                name="draw_images",
            ),
        ],
        tags="synthesis",
    )
