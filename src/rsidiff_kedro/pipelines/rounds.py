"""How a stage becomes a part of a round: its number, and its place between the rounds before and after it."""

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

from kedro.pipeline import Pipeline, pipeline

SHARED = ("prompt_pool", "validation_prompts", "test_prompts")
"""Datasets that all rounds read; any other of a stage belongs to its round."""
FROM_PARENT = {
    "parent": "adapter",
    "parent_scores": "validation_scores",
    "previous_training_set": "training_set",
}
"""What a stage calls the datasets of the round before its own."""
FROM_BASE = {
    "base_images": "rsi.round_1.images",
    "base_test_images": "rsi.round_0.test_images",
    "base_test_scores": "rsi.round_0.test_scores",
}
"""What a stage calls the base model's own; the first round's images are drawn by the base."""


def bind(function: Callable[..., Any], round_number: int) -> Callable[..., Any]:
    """The node function with its round's number filled in, under its own name and annotations.

    The number is no parameter: `rounds` must be an input of no node, so that more rounds leave the first as they are.
    """
    bound = partial(function, round_number=round_number)
    update_wrapper(bound, function)
    return bound


def in_round(stage: Pipeline, round_number: int) -> Pipeline:
    """The stage under the namespace of a round, linked to the shared datasets and to the rounds that it reads."""
    namespace = f"rsi.round_{round_number}"
    previous = {name: f"rsi.round_{round_number - 1}.{origin}" for name, origin in FROM_PARENT.items()}
    links = {**{name: name for name in SHARED}, **previous, **FROM_BASE}
    free = stage.inputs()
    return pipeline(
        stage,
        namespace=namespace,
        inputs={name: target for name, target in links.items() if name in free},
        parameters={name for name in free if name.startswith("params:")},
    )
