"""The nodes of prompt curation."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.prompt_curation import nodes
from rsidiff_kedro.prompts.splits import split_prompts

SECTION = "params:prompt_curation"
SOURCES = [f"{SECTION}.source", f"{SECTION}.evaluation_source"]


def create_pipeline() -> Pipeline:
    """Create everything from the collected prompts to the pool."""
    return Pipeline(
        [
            node(nodes.collect_prompts, [*SOURCES, "params:seed"], "collected_prompts", name="collect_prompts"),
            node(
                nodes.filter_prompts,
                ["collected_prompts", f"{SECTION}.filters", *SOURCES, "params:model.base", "params:model.revision"],
                ["filtered_prompts", "rejected_by_filter"],
                name="filter_prompts",
            ),
            node(
                split_prompts,
                ["filtered_prompts", f"{SECTION}.validation_size", f"{SECTION}.test_size", "params:seed"],
                ["prompt_candidates", "validation_prompts", "test_prompts"],
                name="split_prompts",
            ),
            node(
                nodes.generate_probe_images,
                ["prompt_candidates", f"{SECTION}.enabled", f"{SECTION}.probe", "params:model", "params:seed"],
                "probe_images",
                name="generate_probe_images",
            ),
            node(
                nodes.score_probe_images,
                ["probe_images", f"{SECTION}.probe", "params:rewards"],
                "probe_scores",
                name="score_probe_images",
            ),
            node(
                nodes.select_pool,
                ["prompt_candidates", "probe_scores", SECTION, "params:model", "params:seed"],
                ["prompt_pool", "rejected_by_probe"],
                name="select_pool",
            ),
            node(
                nodes.gather_rejected,
                ["rejected_by_filter", "rejected_by_probe"],
                "rejected_prompts",
                name="gather_rejected_prompts",
            ),
        ]
    )
