"""Connect the nodes of synthesis for one round."""

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.stage import bind
from rsidiff_kedro.pipelines.synthesis import nodes
from rsidiff_kedro.prompts.splits import choose_round_prompts


def create_pipeline(round_number: int) -> Pipeline:
    """Create prompts and images of a round, and in round 1 the base model's images."""
    choose, generate = (bind(each, round_number=round_number) for each in (choose_round_prompts, nodes.generate_images))
    chosen = ["prompt_pool", "params:prompt_curation.prompts_per_round", "params:seed"]
    generated = ["prompts", "parent", "params:model", "params:synthesis", "params:rewards", "params:seed"]
    steps = [
        node(choose, chosen, "prompts", name="choose_prompts"),
        node(generate, generated, "images", name="generate_images"),
    ]
    if round_number == 1:
        steps.append(node(nodes.keep_base_images, "images", "base_images", name="keep_base_images"))
    return Pipeline(steps)
