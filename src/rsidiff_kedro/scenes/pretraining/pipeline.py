"""Wire the nodes of the base model's training, which write to `data/` and not over the shipped model."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Pipeline, node

from rsidiff_kedro.pipelines.stage import TRAINS
from rsidiff_kedro.scenes.pretraining import nodes

SETTINGS, MODEL, SAMPLER = "params:base_model", "params:model", "params:sampler"


def create_pipeline() -> Pipeline:
    """Create corpus, autoencoder, denoiser and preference model, and measure each."""
    corpora, held_out = ["clean_corpus", "noisy_corpus"], ["held_out_images", "held_out_verdicts"]
    measured = ["base", "base_log", "autoencoder", *held_out, "first_phase_verdicts", SETTINGS, MODEL, SAMPLER]
    first_phase = ["first_phase_base", SETTINGS, MODEL, SAMPLER]
    trained = ["base", "first_phase_base", "base_log"]
    return Pipeline(
        [
            _node(nodes.draw_clean_corpus, SETTINGS, "clean_corpus"),
            _node(nodes.draw_noisy_corpus, SETTINGS, "noisy_corpus"),
            _node(nodes.train_autoencoder, ["noisy_corpus", SETTINGS], ["autoencoder", "autoencoder_log"]),
            _node(nodes.train_denoiser, [*corpora, "autoencoder", SETTINGS, MODEL], trained),
            _node(nodes.draw_held_out, ["base", SETTINGS, MODEL, SAMPLER], "held_out_images"),
            _node(nodes.judge, "held_out_images", "held_out_verdicts", "judge_held_out"),
            _node(nodes.draw_held_out, first_phase, "first_phase_images", "draw_held_out_of_first_phase"),
            _node(nodes.judge, "first_phase_images", "first_phase_verdicts", "judge_first_phase"),
            _node(nodes.measure, measured, ["base_metrics", "base_card"]),
            _node(nodes.draw_annotated, ["base", SETTINGS, MODEL, SAMPLER], "annotated_images"),
            _node(nodes.judge, "annotated_images", "annotated_verdicts", "judge_annotated"),
            _node(nodes.annotate, ["annotated_verdicts", SETTINGS], "answers"),
            _node(nodes.train_proxy, ["noisy_corpus", "annotated_images", "answers", SETTINGS], "proxy"),
            _node(nodes.measure_proxy, ["proxy", *held_out, SETTINGS], ["proxy_metrics", "proxy_card"]),
        ]
    )


def _node(
    function: Callable[..., Any], inputs: str | list[str], outputs: str | list[str], name: str | None = None
) -> Any:
    """Create a node with the function's name as default."""
    tags = TRAINS if function.__name__.startswith("train_") else None
    return node(function, inputs, outputs, name=name or function.__name__, tags=tags)
