"""What may be reused: outputs of the same code, parameters, inputs and libraries, and nothing else.

Every run records what made each step's outputs (`lineage/`, in `data/`). A run reads only what it made itself, or, with
`--only-missing-outputs`, what a record says is the same; a run beside it in the same folder is never read.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import Version
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import BaseModel

from rsidiff_kedro.configuration import open_configuration
from rsidiff_kedro.diffusion.backbones.pipeline import find_device
from rsidiff_kedro.lineage.code import assets_digest, code_digest, fingerprint, library_versions
from rsidiff_kedro.lineage.records import INPUT, Record, Records, differences

logger = logging.getLogger(__name__)

FOLDER = "lineage"
FILES = frozenset({"path", "images", "base", "checkpoint", "tokenizer", "clip", "dataset"})
"""Parameters that may name a file or folder, whose content then counts as the parameter's value."""
SHOWN = 3
"""Differences that are named for each step that is made again."""


def open_records(env: str | None) -> Records:
    """The records of the project in the working directory, under an environment."""
    root, loader = open_configuration(env)
    return Records(root / loader["globals"]["data"] / FOLDER)


class LineageHooks:
    """Pins each output to the version that may be read, before the run, and records what made it, after."""

    def __init__(self) -> None:
        self._records = Records(Path())
        self._device = ""
        self._planned: dict[str, Record] = {}
        self._saved: dict[str, set[str]] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Find the folder of records."""
        loader = context.config_loader
        self._records = Records(Path(context.project_path) / loader["globals"]["data"] / FOLDER)
        self._device = find_device(loader["parameters"]["model"]["device"]).type

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Decide for each step in order whether its outputs may be reused, and say why not."""
        self._planned, self._saved = {}, {}
        reuse, run_id = bool(run_params["only_missing_outputs"]), str(run_params["run_id"])
        newest = {record.step: record for record in self._records.all()} if reuse else {}
        keys: dict[str, str] = {}
        again: dict[str, list[str]] = {}
        for node in pipeline.nodes:
            record = self._describe(node, catalog, keys, run_id)
            made = self._records.find(record.key) if reuse else None
            if made is not None and self._pin(node, catalog, made.version, run_id):
                keys |= dict.fromkeys(node.outputs, made.key)
                continue
            self._pin(node, catalog, run_id, run_id)
            self._planned[node.name] = record
            keys |= dict.fromkeys(node.outputs, record.key)
            again[node.name] = _reasons(record, made, newest.get(node.name))
        if reuse:
            _report(again, len(pipeline.nodes))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Keep the step's record once all its outputs are saved."""
        record = self._planned.get(node.name)
        if record is None:
            return
        self._saved.setdefault(node.name, set()).add(dataset_name)
        if self._saved[node.name] >= set(record.outputs):
            self._records.write(self._planned.pop(node.name))

    def _describe(self, node: Node, catalog: CatalogProtocol, keys: dict[str, str], run_id: str) -> Record:
        parameters = {name: _resolved(catalog.load(name)) for name in node.inputs if _is_parameter(name)}
        given = node.func.keywords if isinstance(node.func, partial) else {}
        return Record(
            step=node.name,
            version=run_id,
            outputs=tuple(node.outputs),
            code=code_digest(node.func.__module__),
            assets=assets_digest(),
            libraries=library_versions(),
            parameters={name.removeprefix("params:"): value for name, value in parameters.items()} | given,
            inputs={
                name: keys.get(name) or self._origin(name, catalog) for name in node.inputs if not _is_parameter(name)
            },
            device=self._device,
        )

    def _origin(self, name: str, catalog: CatalogProtocol) -> str:
        """The key of what made the version of an input that is on disk, or the version where nothing is known."""
        dataset = catalog.get(name)
        if not isinstance(dataset, AbstractVersionedDataset) or not dataset.exists():
            return "missing"
        version = str(dataset.resolve_load_version())
        record = self._records.maker(name, version)
        return record.key if record is not None else version

    def _pin(self, node: Node, catalog: CatalogProtocol, version: str, run_id: str) -> bool:
        """Have the step's outputs loaded in this version; False if one of them does not exist in it."""
        datasets = [catalog.get(name) for name in node.outputs]
        versioned = [each for each in datasets if isinstance(each, AbstractVersionedDataset)]
        for dataset in versioned:
            dataset._version = Version(version, run_id)
            dataset._clear_version_cache()
        return len(versioned) == len(datasets) and all(dataset.exists() for dataset in versioned)


def _is_parameter(name: str) -> bool:
    return name == "parameters" or name.startswith("params:")


def _resolved(value: Any, name: str = "") -> Any:
    """A parameter as JSON holds it; with the content's digest where it names a file that is there."""
    if isinstance(value, BaseModel):  # Kedro loads what a node declares as settings
        value = value.model_dump()
    if isinstance(value, dict):
        return {str(key): _resolved(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(part, name) for part in value]
    if name in FILES and isinstance(value, str | Path) and Path(value).exists():
        return f"{value} ({fingerprint(Path(value))})"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _reasons(record: Record, made: Record | None, newest: Record | None) -> list[str]:
    if made is not None:
        return ["its outputs are gone"]
    return differences(newest, record) if newest is not None else ["it was never made"]


def _report(again: dict[str, list[str]], total: int) -> None:
    """Why steps are made again, those of one reason together; those whose inputs alone changed are counted."""
    steps: dict[str, list[str]] = {}
    for step, reasons in again.items():
        own = [reason for reason in reasons if not reason.startswith(INPUT)]
        more = f"; and {len(own) - SHOWN} more" if len(own) > SHOWN else ""
        steps.setdefault("; ".join(own[:SHOWN]) + more or "an input is made again", []).append(step)
    for reason, names in steps.items():
        others = f" and {len(names) - 1} other steps" if len(names) > 1 else ""
        logger.info("%s%s: %s", names[0], others, reason)
    logger.info("%d of %d steps are reused", total - len(again), total)
