"""Kedro pipelines, one folder per stage; `STAGES` lists them in the order of the method."""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kedro.pipeline.node import Node

    from rsidiff_kedro.pipelines.stage import Stage

STAGES = (
    "rsidiff_kedro.pipelines.prompt_curation",
    "rsidiff_kedro.pipelines.synthesis",
    "rsidiff_kedro.pipelines.preference_selection",
    "rsidiff_kedro.pipelines.weighting",
    "rsidiff_kedro.pipelines.finetune",
    "rsidiff_kedro.pipelines.gate",
    "rsidiff_kedro.pipelines.evaluation",
    "rsidiff_kedro.pipelines.report",
    "rsidiff_kedro.pipelines.sft",
    "rsidiff_kedro.scenes.pretraining",
)
"""Packages with a `stage`."""


@cache
def stages() -> "tuple[Stage, ...]":
    """Import all stages."""
    return tuple(import_module(name).stage for name in STAGES)


def stage_of(node: "Node") -> "Stage | None":
    """Return the stage that a node belongs to, whose name is its tag."""
    return next((stage for stage in stages() if stage.name in node.tags), None)
