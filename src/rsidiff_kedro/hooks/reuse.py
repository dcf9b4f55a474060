"""Decide which outputs may be reused: those of the same code, parameters, inputs and libraries, and nothing else.

Every run records what made each step's outputs (`data/lineage/`). A step's key covers the content of its inputs, so a
step that makes the same output again changes nothing after it. A run reads only its own outputs or, with
`--only-missing-outputs`, those whose record has the same key; never those of a run beside it. The same holds for what
a killed run finished of a step (`data/unfinished/`). A part of a pipeline reads of earlier runs what its parameters
make, and only where that does not exist what the last complete run has, with a warning.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from tqdm import tqdm

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.diffusion.settings import find_device
from rsidiff_kedro.execution.unfinished import Unfinished, begin_run, set_unfinished
from rsidiff_kedro.hooks.earlier import last_versions, makers, text
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
from rsidiff_kedro.hooks.mixed import Content, check_mixed
from rsidiff_kedro.hooks.pinned import (
    UnversionedError,
    check_hidden_versions,
    check_load_versions,
    check_places,
    check_unversioned,
)
from rsidiff_kedro.hooks.saved import MADE_BY, Saved
from rsidiff_kedro.hooks.steps import Steps, changes
from rsidiff_kedro.hooks.supported_runner import RUNNER, check_runner
from rsidiff_kedro.parameters import parse_parameters
from rsidiff_kedro.provenance.records import INPUT, Record, Records
from rsidiff_kedro.provenance.retention import RECORDS, UNFINISHED

logger = logging.getLogger(__name__)


class ClockError(InputError):
    """Runs would have the same version, which is the time when they begin."""


SHOWN = 3
"""Differences named for each step that runs again."""


_complete = False


def is_complete() -> bool:
    """Tell whether the run that begins has nothing to compute, because every step is reused."""
    return _complete


def _set_complete(complete: bool) -> None:
    global _complete
    _complete = complete


class ReuseHooks:
    """Pin each output to the version that may be read, and record what made it."""

    def __init__(self, data: Path = Path("data")) -> None:
        self._data, self._records = data, Records(data / RECORDS)
        self._asked_device, self._device = "auto", ""
        self._keyed = KeyedParameters()
        self._threads: int | None = None
        self._saved = Saved()
        self._reuse = False
        self._run_id = ""
        self._active: Unfinished | None = None
        self._content: Content = {}
        self._planned: dict[str, Record] = {}
        self._unfinished: dict[str, Unfinished] = {}
        self._reported: set[str] = set()
        self._foreseen = self._reused = 0
        self._started = 0.0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep records and unfinished work in the project's data folder."""
        loader = context.config_loader
        self._data = Path(context.project_path) / loader["globals"]["data"]
        self._records = Records(self._data / RECORDS)
        parameters = parse_parameters(loader["parameters"])
        self._asked_device = parameters.model.device
        self._keyed = KeyedParameters(parameters, Path(context.project_path))
        self._threads = parameters.execution.threads

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Find the inputs of the pipeline, and say which steps are reused and why the others are not.

        Raises:
            RunnerError: the runner is not supported.
            LoadVersionError: a version is named of a dataset that the run does not read, or makes itself, or that
                does not have it.
            UnversionedError: versions lie where data without versions belong, or the reverse, or Kedro's own runner
                would skip steps whose outputs cannot be trusted.
            SharedPlaceError: two outputs have one place on disk.
            ClockError: an earlier run has the run's version.
            ModelError: torch cannot use `model.device` here, and a step is to be made.
            MixedInputsError: a step would join data that were made of different data.
        """
        runner, load_versions = str(run_params.get("runner", RUNNER)), run_params.get("load_versions") or {}
        check_runner(runner)
        check_load_versions(load_versions, pipeline, catalog)
        check_places(pipeline, catalog)
        check_hidden_versions(pipeline, catalog)
        if runner != RUNNER and run_params["only_missing_outputs"]:
            check_unversioned(pipeline, catalog)
        commit_of.cache_clear()
        self._planned, self._unfinished = {}, {}
        self._reported, self._foreseen, self._reused = set(), 0, 0
        self._run_id = str(run_params["run_id"])
        self._reuse = bool(run_params["only_missing_outputs"])
        self._saved = Saved(catalog, self._run_id, load_versions.keys())
        if self._records.has_version(self._run_id):
            raise ClockError(
                f"the clock says {self._run_id}, when an earlier run began, so both would have one version; set the "
                "clock, and run the command again"
            )
        self._find_inputs(pipeline, load_versions)
        for node in pipeline.nodes:
            self._saved.pin(node.outputs, self._run_id)
        read = {name: self._content[name] for name in pipeline.inputs() if not is_parameter(name)}
        if read:
            check_mixed(pipeline, read, self._records.all(), self._foreseen_record)
        _set_complete(False)
        if self._reuse:
            self._preview(pipeline)
        if not is_complete():
            self._device = find_device(self._asked_device).type

    def is_reusable(self, node: Node) -> bool:
        """Decide about a node whose inputs are known: have its outputs reused, or plan to make them."""
        record = self._describe(node)
        made, problems = self._sound_record(record) if self._reuse else (None, [])
        if made is not None:
            self._adopt(made)
            self._reused += 1
            return True
        if problems and node.name not in self._reported:
            logger.info("%s: %s", node.name, "; ".join(problems[:SHOWN]))
        self._plan(node, record)
        return False

    def make_again(self, node: Node) -> None:
        """Plan to make the outputs of a node again, though a record says what they are."""
        self._plan(node, self._describe(node))

    def pruned(self, names: Iterable[str]) -> list[str]:
        """Return the datasets whose files `prune` has deleted."""
        return [name for name in names if self._saved.is_pruned(name)]

    def _plan(self, node: Node, record: Record) -> None:
        self._planned[node.name] = record
        self._saved.pin(node.outputs, self._run_id)

    def _adopt(self, made: Record, named: Collection[str] = ()) -> None:
        """Read these outputs in the version that a record names, but those whose version the user names."""
        self._saved.pin(made.outputs, made.version)
        found = {name: (digest, made.version) for name, digest in made.outputs.items() if name not in named}
        self._content |= found

    def _find_inputs(self, pipeline: Pipeline, named: Mapping[str, str]) -> None:
        """Read the named versions, what was saved with them, and of other inputs what these parameters make of those.

        Where that does not exist, that of the last complete runs is read, or the newest version if none has any. The
        steps that make an input may be of another pipeline than the one that runs.
        """
        wanted = {name for name in pipeline.inputs() if not is_parameter(name)}
        self._content = {name: self._saved.found(name) for name in named}
        free = wanted - named.keys()
        needed = makers(free, pipelines.values()) if free else Pipeline([])
        missing = set(free)
        for node in needed.nodes:
            made = self._earlier(node, named)
            if made is not None:
                self._adopt(made, named)
                missing -= made.outputs.keys()
        last = last_versions(missing, needed, self._records, self._saved.exists) if missing else {}
        for name in missing:
            self._saved.pin([name], last.get(name))
        self._content |= {name: self._saved.found(name) for name in missing}
        read = {name: self._content[name][1] for name in missing if self._saved.catalog.exists(name)}
        older = {name: read[name] for name in read.keys() & needed.all_outputs()}
        if older:
            logger.warning("no version was made with these parameters; read instead: %s", text(older))
        newest = {name: version for name, version in read.items() if version and name not in older}
        if newest:
            logger.info("no pipeline makes these, and the newest version is read: %s", text(newest))

    def _earlier(self, node: Node, named: Mapping[str, str]) -> Record | None:
        """Return the sound record of what these parameters make, or of what a named version was saved with."""
        versions = {named[name] for name in node.outputs if name in named}
        if versions:
            saved = [each for each in self._records.all() if each.outputs.keys() == {*node.outputs}]
            return next((each for each in saved if {each.version} == versions and not self._problems(each)), None)
        if any(not is_parameter(name) and name not in self._content for name in node.inputs):
            return None  # its own inputs were not found
        return self._sound_record(self._describe(node))[0]

    def _problems(self, made: Record) -> list[str]:
        return [problem for name in made.outputs if (problem := self._saved.problem(name, made))]

    def _preview(self, pipeline: Pipeline) -> None:
        """Say which steps are reused, as far as that is known before the first step."""
        again, waiting = dict[str, list[str]](), 0
        earlier: dict[str, list[Record]] = {}
        for record in self._records.all():
            earlier.setdefault(record.step, []).append(record)
        for node in tqdm(pipeline.nodes, desc="checking finished steps", unit="step", delay=2, leave=False):
            if any(not is_parameter(name) and name not in self._content for name in node.inputs):
                waiting += 1
                continue
            record = self._describe(node)
            made, problems = self._sound_record(record)
            if made is not None:
                self._adopt(made)
            else:
                self._saved.pin(node.outputs, self._run_id)  # else Kedro's own runner would find the unsound ones
                again[node.name] = problems or changes(record, earlier.get(node.name, []))
        self._reported, self._foreseen = set(again), len(pipeline.nodes) - len(again) - waiting
        _report(again, waiting)
        _set_complete(self._foreseen == len(pipeline.nodes))
        logger.info("%d of %d steps are reused", self._foreseen, len(pipeline.nodes))

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Tell the step where to keep unfinished work, and continue what a killed run left of it."""
        if node.name not in self._planned:  # a plain Kedro session, whose runner asks nothing
            self.make_again(node)
        self._check_unversioned_inputs(node)
        root = self._data / UNFINISHED
        if self._active is None:
            self._active = begin_run(root, self._run_id)
        record = self._planned[node.name]
        self._unfinished[node.name] = Unfinished(root, record.key, record.version, self._reuse)
        set_unfinished(self._unfinished[node.name])
        self._started = time.monotonic()

    def _check_unversioned_inputs(self, node: Node) -> None:
        """Raise UnversionedError if another run has written an input since this run saved or found it."""
        for name in node.inputs:
            dataset = self._saved.dataset(name)
            if dataset is None or dataset._version is not None or self._content[name][0].startswith(MADE_BY):
                continue
            if self._saved.found(name)[0] != self._content[name][0]:
                raise UnversionedError(
                    f"{name} has changed since this run began: another run writes it too, as it has no versions; "
                    "run one at a time, or set `versioned: true` in catalog.yml"
                )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Once all outputs of the step are saved, keep its record and drop its unfinished work."""
        record = self._planned[node.name]
        digest = self._saved.content(dataset_name) or f"{MADE_BY}{record.key}"
        record.outputs[dataset_name] = digest
        self._content[dataset_name] = (digest, record.version)
        if all(record.outputs.values()):
            self._records.write(self._planned.pop(node.name))
            self._unfinished.pop(node.name).remove()

    @hook_impl(tryfirst=True)
    def after_node_run(self, node: Node) -> None:
        """Note the step's time, and keep whatever runs after it out of its folder."""
        seconds = round(time.monotonic() - self._started, 3)
        self._planned[node.name] = self._planned[node.name].model_copy(update={"seconds": seconds})
        set_unfinished(None)

    @hook_impl
    def on_node_error(self) -> None:
        """Do the same after a step that failed."""
        set_unfinished(None)

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Leave unfinished work for a run that continues it."""
        for unfinished in self._unfinished.values():
            unfinished.release()
        self._end()

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Record that the run is complete, and end its mark of being active.

        A run that made nothing is recorded if the last complete run before it had other outputs: it went back to those
        of earlier parameters, which are now the newest.
        """
        outputs = {name: self._content[name][1] for name in pipeline.all_outputs() & self._content.keys()}
        if self._active is not None or not self._records.are_last(outputs):
            self._records.end(self._run_id, outputs)
        if self._reused > self._foreseen:
            logger.info("%d of %d steps were reused after all", self._reused, len(pipeline.nodes))
        self._end()

    def _end(self) -> None:
        if self._active is not None:
            self._active.remove()
            self._active = None

    def _foreseen_record(self, node: Node, content: Content) -> Record | None:
        """Return the newest record of what a node would make of this content, sound or not."""
        return next(iter(self._records.versions(self._describe(node, content).key)), None)

    def _describe(self, node: Node, content: Content | None = None) -> Record:
        """Return the record of a node whose inputs are known, without its outputs' digests."""
        steps = Steps(self._saved.catalog, self._keyed, self._threads)
        return steps.describe(node, self._content if content is None else content, self._run_id, self._device)

    def _sound_record(self, record: Record) -> tuple[Record | None, list[str]]:
        """Return the newest record of the same key whose outputs are what was saved; else what is wrong with them."""
        problems: list[str] = []
        for made in self._records.versions(record.key):
            problems = self._problems(made)
            if not problems:
                return made, []
        return None, problems


def _report(again: dict[str, list[str]], waiting: int) -> None:
    """Log why steps run again, those of one reason together."""
    steps: dict[str, list[str]] = {}
    for step, reasons in again.items():
        own = [reason for reason in reasons if not reason.startswith(INPUT)] or reasons
        more = f"; and {len(own) - SHOWN} more" if len(own) > SHOWN else ""
        steps.setdefault("; ".join(own[:SHOWN]) + more, []).append(step)
    for reason, names in steps.items():
        others = f" and {len(names) - 1} other step{'s' * (len(names) > 2)}" if len(names) > 1 else ""
        logger.info("%s%s: %s", names[0], others, reason)
    if waiting:
        counted = "1 step reads" if waiting == 1 else f"{waiting} steps read"
        logger.info("%s what these make; each runs unless its inputs turn out the same", counted)
