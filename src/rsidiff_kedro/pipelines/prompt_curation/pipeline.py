"""Connect the nodes of prompt curation."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.previews import preview_curation
from rsidiff_kedro.pipelines.prompt_curation import nodes
from rsidiff_kedro.prompts.splits import split_prompts

SECTION = "params:prompt_curation"


def create_pipeline() -> Pipeline:
    """Create everything from the collected prompts to the pool."""
    sources = [f"{SECTION}.source", f"{SECTION}.evaluation_source"]
    model = [f"params:model.{name}" for name in ("family", "base", "revision", "options")]
    rules = [f"{SECTION}.filters", *sources, *model]
    sizes = [f"{SECTION}.validation_size", f"{SECTION}.test_size", "params:seed"]
    probe = [f"{SECTION}.enabled", f"{SECTION}.probe", "params:model", "params:seed"]
    scored = ["probe_images", f"{SECTION}.probe", "params:rewards"]
    chosen = ["prompt_candidates", "probe_scores", SECTION, "params:model", "params:seed"]
    splits = ["prompt_candidates", "validation_prompts", "test_prompts"]
    filtered, pool = ["filtered_prompts", "rejected_by_filter"], ["prompt_pool", "rejected_by_probe"]
    rejected = ["rejected_by_filter", "rejected_by_probe"]
    return Pipeline(
        [
            node(nodes.collect_prompts, [*sources, "params:seed"], "collected_prompts", name="collect_prompts"),
            node(
                nodes.filter_prompts,
                ["collected_prompts", *rules],
                filtered,
                name="filter_prompts",
                preview_fn=preview_curation(*filtered),
            ),
            node(split_prompts, ["filtered_prompts", *sizes], splits, name="split_prompts"),
            node(
                nodes.generate_probe_images, ["prompt_candidates", *probe], "probe_images", name="generate_probe_images"
            ),
            node(nodes.score_probe_images, scored, "probe_scores", name="score_probe_images"),
            node(nodes.select_pool, chosen, pool, name="select_pool", preview_fn=preview_curation(*pool)),
            node(nodes.gather_rejected, rejected, "rejected_prompts", name="gather_rejected_prompts"),
        ]
    )
