"""Wiring of prompt curation."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.prompt_curation import nodes
from rsidiff_kedro.prompts.pool import split_prompts


def create_pipeline() -> Pipeline:
    """From the source to the pool; runs once, before the rounds."""
    section = "params:prompt_curation"
    return Pipeline(
        [
            node(
                nodes.collect_prompts,
                [f"{section}.source", f"{section}.evaluation_source", "params:seed"],
                "collected_prompts",
                name="collect_prompts",
            ),
            node(
                nodes.filter_prompts,
                ["collected_prompts", f"{section}.filters", "params:model"],
                ["filtered_prompts", "rejected_by_filter"],
                name="filter_prompts",
            ),
            node(
                split_prompts,
                ["filtered_prompts", f"{section}.validation_size", f"{section}.test_size", "params:seed"],
                ["prompt_candidates", "validation_prompts", "test_prompts"],
                name="split_prompts",
            ),
            node(
                nodes.draw_probe_images,
                ["prompt_candidates", f"{section}.enabled", f"{section}.probe", "params:model", "params:seed"],
                "probe_images",
                name="draw_probe_images",
            ),
            node(
                nodes.score_probe_images,
                ["probe_images", f"{section}.probe", "params:rewards"],
                "probe_scores",
                name="score_probe_images",
            ),
            node(
                nodes.select_pool,
                ["prompt_candidates", "probe_scores", section, "params:model", "params:seed"],
                ["prompt_pool", "rejected_by_probe"],
                name="select_pool",
            ),
            node(
                nodes.gather_rejected,
                ["rejected_by_filter", "rejected_by_probe"],
                "rejected_prompts",
                name="gather_rejected_prompts",
            ),
        ],
        tags="prompt_curation",
    )
