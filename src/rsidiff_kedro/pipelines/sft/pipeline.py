"""Wiring of supervised fine-tuning, under the namespace `sft.round_1`: one long round, measured as those of rsi are."""

from kedro.pipeline import Node, Pipeline, node, pipeline

from rsidiff_kedro.pipelines.evaluation import nodes as evaluation
from rsidiff_kedro.pipelines.evaluation.pipeline import REWARDS, SECTION, draw_and_score
from rsidiff_kedro.pipelines.rounds import FROM_BASE
from rsidiff_kedro.pipelines.sft import nodes

ROUND = 1


def create_pipeline() -> Pipeline:
    """Train on real pairs and evaluate on what `rsi` drew and measured of the base; run `rsi` first."""
    steps = Pipeline([*_training(), *_evaluation()], tags="sft")
    free = steps.inputs()
    links = {name: origin for name, origin in FROM_BASE.items() if name in free}
    shared = {name: name for name in ("validation_prompts", "test_prompts")}
    return pipeline(
        steps,
        namespace=f"sft.round_{ROUND}",
        inputs={**links, **shared},
        parameters={name for name in free if name.startswith("params:")},
    )


def _training() -> list[Node]:
    return [
        node(
            nodes.build_training_set,
            ["params:sft", "params:model", "params:sampler"],
            "training_set",
            name="build_training_set",
        ),
        node(
            nodes.finetune,
            ["training_set", "params:model", "params:finetune", "params:sft", "params:seed"],
            ["adapter", "training_log"],
            name="finetune",
        ),
    ]


def _evaluation() -> list[Node]:
    inputs = ["test_images", "test_scores", "base_test_images", "base_test_scores", "validation_scores"]
    return [
        *draw_and_score(ROUND, "adapter", "validation_scores"),
        node(
            evaluation.measure_without_gate,
            [*inputs, REWARDS, SECTION, "params:rewards", "params:seed"],
            "metrics",
            name="measure",
        ),
    ]
