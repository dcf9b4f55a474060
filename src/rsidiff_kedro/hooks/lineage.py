"""What may be reused: outputs of the same code, parameters, inputs and libraries, and nothing else.

Every run records what made each step's outputs (`lineage/`, in `data/`). Of what it makes a run reads only its own,
or, with `--only-missing-outputs`, what a record says is the same; a run beside it in the same folder is never read. So
it is with what a killed run finished of a step (`unfinished/`, in `data/`). What a part of a pipeline reads of earlier
runs is what its parameters make, and the newest version, with a warning, only where that is not there.
"""

import logging
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import Version, is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import BaseModel
from tqdm import tqdm

from rsidiff_kedro.configuration import open_configuration
from rsidiff_kedro.datasets.folder import FolderDataset
from rsidiff_kedro.diffusion.backbones.pipeline import find_device
from rsidiff_kedro.lineage.code import assets_digest, code_digest, library_versions
from rsidiff_kedro.lineage.content import content_digest, fingerprint
from rsidiff_kedro.lineage.records import INPUT, Record, Records, differences
from rsidiff_kedro.lineage.unfinished import Unfinished, begin_run, set_unfinished

logger = logging.getLogger(__name__)

FOLDER = "lineage"
UNFINISHED = "unfinished"
FILES = frozenset({"path", "images", "base", "checkpoint", "tokenizer", "clip", "dataset"})
"""Parameters that may name a file or folder, whose content then counts as the parameter's value."""
NOT_IN_KEY = frozenset({"checkpoint_every", "device"})
"""Parameters that change no result, or that are recorded alone."""
NEVER = "it was never made"
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
        self._catalog: CatalogProtocol | None = None
        self._reuse = False
        self._run_id = ""
        self._process = 0
        self._active: Unfinished | None = None
        self._planned: dict[str, Record] = {}
        self._unfinished: dict[str, Unfinished] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Find the folder of records."""
        loader = context.config_loader
        self._records = Records(Path(context.project_path) / loader["globals"]["data"] / FOLDER)
        self._device = find_device(loader["parameters"]["model"]["device"]).type

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Decide for each step in order whether its outputs may be reused, and say why not."""
        self._planned, self._unfinished, self._catalog, self._process = {}, {}, catalog, os.getpid()
        self._reuse, self._run_id = bool(run_params["only_missing_outputs"]), str(run_params["run_id"])
        earlier: dict[str, list[Record]] = {}
        for record in self._records.all() if self._reuse else ():
            earlier.setdefault(record.step, []).append(record)
        keys = self._find_inputs(pipeline, catalog, run_params.get("load_versions") or {})
        again: dict[str, list[str]] = {}
        reused: dict[str, Record] = {}
        for node in tqdm(pipeline.nodes, desc="checking what is there", unit="step", delay=2, leave=False):
            record = self._describe(node, catalog, keys)
            keys |= dict.fromkeys(node.outputs, record.key)
            lacking = self._pin_to_made(node.outputs, catalog, record.key) if self._reuse else [NEVER]
            if not lacking:
                reused[node.name] = record
                continue
            self._pin(node.outputs, catalog, record)
            self._planned[node.name] = record
            again[node.name] = _reasons(record, earlier.get(node.name, [])) if lacking == [NEVER] else lacking
        self._make_pruned_again(pipeline, catalog, reused, again)
        if self._reuse:
            _report(again, len(pipeline.nodes))

    def _find_inputs(
        self, pipeline: Pipeline, catalog: CatalogProtocol, load_versions: dict[str, str]
    ) -> dict[str, str]:
        """Have what a part of a pipeline reads of earlier runs loaded as these parameters make it, where that is there.

        Returns:
            The keys of these inputs; of the others, the newest versions are read, and a line says so.
        """
        wanted = {name for name in pipeline.inputs() if not is_parameter(name)} - load_versions.keys()
        whole = next((each for each in dict(pipelines).values() if wanted <= each.all_outputs()), None)
        if not wanted or whole is None:
            return {}
        keys: dict[str, str] = {}
        found: dict[str, str] = {}
        for node in whole.to_outputs(*wanted).nodes:
            keys |= dict.fromkeys(node.outputs, self._describe(node, catalog, keys).key)
            asked = wanted & set(node.outputs)
            if asked and not self._pin_to_made(asked, catalog, keys[node.outputs[0]]):
                found |= dict.fromkeys(asked, keys[node.outputs[0]])
            elif asked:
                self._unpin(asked, catalog)
        other = sorted(name for name in wanted - found.keys() if catalog.exists(name))
        if other:
            more = f" and {len(other) - 1} more" if len(other) > 1 else ""
            logger.warning("%s%s: not there as these parameters make it; the newest version is read", other[0], more)
        return found

    def _make_pruned_again(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        reused: dict[str, Record],
        again: dict[str, list[str]],
    ) -> None:
        """Plan the steps, of those reused, whose outputs were pruned and are read by a step that is planned."""
        makers = {output: node for node in pipeline.nodes for output in node.outputs}
        for node in reversed(pipeline.nodes):
            for name in node.inputs if node.name in self._planned else ():
                maker, dataset = makers.get(name), catalog.get(name)
                if maker and maker.name in reused and isinstance(dataset, FolderDataset) and dataset.is_pruned():
                    self._planned[maker.name] = record = reused.pop(maker.name)
                    self._pin(maker.outputs, catalog, record)
                    again[maker.name] = [f"{name} was pruned, and is needed"]

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Say where the step may keep unfinished work, and go on with what a killed run left of it."""
        record = self._planned.get(node.name)
        root = self._records.folder.with_name(UNFINISHED)
        if self._active is None and os.getpid() == self._process:  # not in a worker of ParallelRunner
            self._active = begin_run(root, self._run_id)
        if record is not None:
            self._unfinished[node.name] = Unfinished(root, record.key, record.version, self._reuse)
        set_unfinished(self._unfinished.get(node.name))

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Once all outputs of the step are saved, keep its record and drop its unfinished work."""
        record = self._planned.get(node.name)
        if record is None or self._catalog is None:
            return
        dataset = self._catalog.get(dataset_name)
        if isinstance(dataset, AbstractVersionedDataset):
            record.outputs[dataset_name] = content_digest(Path(dataset._get_load_path()))
        if all(record.outputs.values()):
            self._records.write(self._planned.pop(node.name))
            self._unfinished.pop(node.name).remove()

    @hook_impl
    def after_node_run(self) -> None:
        """What runs after this step, be it outside of any run, has no business in its folder."""
        set_unfinished(None)

    @hook_impl
    def on_node_error(self) -> None:
        """The same after a step that failed."""
        set_unfinished(None)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Leave unfinished work for a run that goes on with it."""
        for unfinished in self._unfinished.values():
            unfinished.release()
        self._end()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """The run is no longer active."""
        self._end()

    def _end(self) -> None:
        if self._active is not None:
            self._active.remove()
            self._active = None

    def _describe(self, node: Node, catalog: CatalogProtocol, keys: dict[str, str]) -> Record:
        parameters = {name: _resolved(catalog.load(name)) for name in node.inputs if is_parameter(name)}
        given = node.func.keywords if isinstance(node.func, partial) else {}
        return Record(
            step=node.name,
            version=self._run_id,
            outputs=dict.fromkeys(node.outputs, ""),
            code=code_digest(node.func.__module__, *_modules(node, catalog)),
            assets=assets_digest(),
            libraries=library_versions(),
            parameters={name.removeprefix("params:"): value for name, value in parameters.items()} | given,
            inputs={
                name: keys.get(name) or self._origin(name, catalog) for name in node.inputs if not is_parameter(name)
            },
            device=self._device,
        )

    def _origin(self, name: str, catalog: CatalogProtocol) -> str:
        """The key of what made an input that is on disk; the digest of its content where that is not what was saved."""
        dataset = catalog.get(name)
        if not isinstance(dataset, AbstractVersionedDataset) or not dataset.exists():
            return "missing"
        version = str(dataset.resolve_load_version())
        record, content = self._records.maker(name, version), content_digest(Path(dataset._get_load_path()))
        return record.key if record is not None and record.outputs.get(name) == content else content

    def _pin_to_made(self, names: Iterable[str], catalog: CatalogProtocol, key: str) -> list[str]:
        """Have outputs of a step loaded in a version made under this key; returns what is wrong if none is sound."""
        lacking = [NEVER]
        for made in self._records.versions(key):
            lacking = self._pin(names, catalog, made)
            if not lacking:
                break
        return lacking

    def _unpin(self, names: Iterable[str], catalog: CatalogProtocol) -> None:
        for dataset in (catalog.get(name) for name in names):
            if isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None:
                dataset._version = Version(None, self._run_id)
                dataset._clear_version_cache()

    def _pin(self, names: Iterable[str], catalog: CatalogProtocol, record: Record) -> list[str]:
        """Have outputs of a step loaded in the record's version; returns what is wrong with them on disk."""
        problems = []
        for name in names:
            dataset = catalog.get(name)
            if not isinstance(dataset, AbstractVersionedDataset) or dataset._version is None:
                problems.append(f"{name} is not versioned, and not reused")
                continue
            dataset._version = Version(record.version, self._run_id)
            dataset._clear_version_cache()
            if not dataset.exists():
                problems.append(f"{name} is gone")
            elif isinstance(dataset, FolderDataset) and dataset.is_pruned():
                continue
            elif record.outputs.get(name) != content_digest(Path(dataset._get_load_path())):
                problems.append(f"{name} is damaged: it is not what was saved")
        return problems


def _resolved(value: Any, name: str = "") -> Any:
    """A parameter as JSON holds it; with the content's digest where it names a file that is there."""
    if isinstance(value, BaseModel):  # Kedro loads what a node declares as settings
        value = value.model_dump()
    if isinstance(value, dict):
        return {str(key): _resolved(part, str(key)) for key, part in value.items() if key not in NOT_IN_KEY}
    if isinstance(value, list | tuple):
        return [_resolved(part, name) for part in value]
    if name in FILES and isinstance(value, str | Path) and Path(value).exists():
        return f"{value} ({fingerprint(Path(value))})"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _modules(node: Node, catalog: CatalogProtocol) -> list[str]:
    """Modules of this project that write the step's outputs."""
    found = {type(catalog.get(name)).__module__ for name in node.outputs}
    return sorted(name for name in found if name.startswith("rsidiff_kedro."))


def _reasons(record: Record, earlier: list[Record]) -> list[str]:
    """What makes the step another than the one most like it."""
    return min((differences(each, record) for each in earlier), key=len, default=[NEVER])


def _report(again: dict[str, list[str]], total: int) -> None:
    """Why steps are made again, those of one reason together; those whose inputs alone changed are counted."""
    steps: dict[str, list[str]] = {}
    for step, reasons in again.items():
        own = [reason for reason in reasons if not reason.startswith(INPUT)]
        more = f"; and {len(own) - SHOWN} more" if len(own) > SHOWN else ""
        steps.setdefault("; ".join(own[:SHOWN]) + more or "an input is made again", []).append(step)
    for reason, names in steps.items():
        others = f" and {len(names) - 1} other step{'s' * (len(names) > 2)}" if len(names) > 1 else ""
        logger.info("%s%s: %s", names[0], others, reason)
    logger.info("%d of %d steps are reused", total - len(again), total)
