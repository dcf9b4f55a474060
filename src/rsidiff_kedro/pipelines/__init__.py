"""Kedro pipelines, one folder per stage; `STAGES` lists them in the order of the method."""

import ast
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
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


def finals() -> set[str]:
    """Return the names of the datasets that complete a run, read from the stages' files without importing torch."""
    found: set[str] = set()
    for name in STAGES:
        spec = find_spec(name)
        source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
        for each in ast.walk(ast.parse(source)):
            if isinstance(each, ast.keyword) and each.arg == "final" and isinstance(each.value, ast.Constant):
                found.add(str(each.value.value))
    return found


@cache
def stages() -> "tuple[Stage, ...]":
    """Import all stages."""
    return tuple(import_module(name).stage for name in STAGES)


def stage_of(node: "Node") -> "Stage | None":
    """Return the stage that a node belongs to, whose name is its tag."""
    return next((stage for stage in stages() if stage.name in node.tags), None)
