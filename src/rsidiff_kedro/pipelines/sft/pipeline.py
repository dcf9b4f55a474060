"""Wiring of supervised fine-tuning, under the namespace `sft.round_1`: one long round, measured as those of rsi are."""

from kedro.pipeline import Node, Pipeline, node, pipeline

from rsidiff_kedro.pipelines.evaluation import nodes as evaluation
from rsidiff_kedro.pipelines.evaluation.pipeline import DRAWING, REWARDS, SCORING, SECTION
from rsidiff_kedro.pipelines.rounds import FROM_BASE, bind
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
        node(
            bind(evaluation.draw_validation_images, ROUND),
            ["adapter", "validation_prompts", f"{SECTION}.validation_samples_per_prompt", *DRAWING],
            "validation_images",
            name="draw_validation_images",
        ),
        node(
            evaluation.score_images,
            ["validation_images", *SCORING],
            "validation_scores",
            name="score_validation_images",
        ),
        node(
            bind(evaluation.draw_test_images, ROUND),
            ["adapter", "test_prompts", f"{SECTION}.samples_per_prompt", *DRAWING],
            "test_images",
            name="draw_test_images",
        ),
        node(evaluation.score_images, ["test_images", *SCORING], "test_scores", name="score_test_images"),
        node(
            nodes.measure_without_gate,
            [*inputs, REWARDS, SECTION, "params:rewards", "params:seed"],
            "metrics",
            name="measure",
        ),
    ]
