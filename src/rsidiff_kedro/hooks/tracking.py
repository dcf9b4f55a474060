"""Record runs in MLflow: one run per `kedro run` that makes rounds, and in it one child run per round.

Rounds of a stage apart, such as sft, are of a run of their own, also where one command makes both.

MLflow is imported when the first run starts, so other commands do not wait for it.
"""

import atexit
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro.core.untrusted.text import printable, without_credentials
from rsidiff_kedro.datasets import AdapterDataset
from rsidiff_kedro.hooks.configuration import environment_of
from rsidiff_kedro.hooks.mlflow_runs import CHILD_PARAMETERS, RECORDERS, RoundRuns, flattened, run_name
from rsidiff_kedro.hooks.mlflow_store import TrackingSettings, connect, read_settings, store_errors
from rsidiff_kedro.hooks.stage_times import stage_seconds
from rsidiff_kedro.method.selecting import selecting_of
from rsidiff_kedro.pipelines import stage_of, stages
from rsidiff_kedro.pipelines.stage import METHOD, Round, round_named, round_of
from rsidiff_kedro.provenance.records import Records
from rsidiff_kedro.provenance.retention import RECORDS

logger = logging.getLogger(__name__)

MOST_FAILURES = 3
"""Consecutive failures of MLflow's store after which a run records nothing more."""


class TrackingHooks:
    """Record each run of a pipeline that makes rounds in MLflow, as conf/<env>/mlflow.yml says.

    A store that cannot be reached at the start stops the run before anything is spent. One that fails later costs a
    warning, never the run: everything that is recorded is in the catalog too.
    """

    def __init__(self) -> None:
        self._settings = TrackingSettings(enabled=False)
        self._root = Path()
        self._records = Records(Path("data") / RECORDS)
        self._runs: dict[str, RoundRuns] = {}
        self._round: Round | None = None
        self._pipeline = Pipeline([])
        self._recorded: set[str] = set()
        self._failures = 0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read mlflow.yml; a context is also made by commands that run nothing."""
        self._settings = read_settings(context.config_loader["mlflow"])
        self._root = Path(context.project_path).resolve()
        self._records = Records(self._root / context.config_loader["globals"]["data"] / RECORDS)

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Open a parent run for each that makes rounds, with all parameters."""
        self._close("KILLED")  # a run before this one, in a notebook, that was interrupted
        made = {found.method for name in pipeline.all_outputs() if (found := round_named(name)) is not None}
        if not self._settings.enabled or not made:
            return
        stored = catalog.get("parameters")
        tree = stored.load() if stored is not None else {}
        parameters = dict(flattened(tree))
        tags = {
            "mlflow.source.name": "kedro run",
            "kedro.run_id": str(run_params["run_id"]),
            "kedro.env": environment_of(run_params.get("env")),
            "kedro.pipelines": ", ".join(run_params.get("pipeline_names") or ["__default__"]),
        }
        repeated = {key: value for key, value in parameters.items() if f"{key}.".startswith(CHILD_PARAMETERS)}
        with store_errors(self._settings.absolute_uri(self._root)):
            client, experiment_id = connect(self._settings, self._root)
            for method in sorted(made, key=lambda each: (each == METHOD, each)):  # the newest is the method's
                name = run_name(parameters, method)
                self._runs[method] = RoundRuns(client, experiment_id, name, tags, repeated, selecting_of(tree))
                self._runs[method].log_parameters(parameters)
        self._pipeline, self._round = pipeline, None
        self._recorded, self._failures = set(), 0
        atexit.register(self._close, "KILLED")  # Kedro calls no hook on Ctrl-C

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol) -> None:
        """Open the run of a round with its first node; the round before ends then."""
        found = round_of(node)
        if found == self._round:
            return
        self._leave_round(catalog)
        runs = self._runs_of(found)
        if found is not None and runs is not None:
            self._record_reused(catalog, rounds=[Round(found.method, each) for each in range(found.number)])
            self._try(f"the beginning of {found}", lambda: runs.child(found.number))
        self._round = found

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Record a dataset as soon as it exists."""
        self._record(dataset_name, lambda: data)

    @hook_impl
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """Record the reused datasets and the time outside rounds, and close the runs."""
        if not self._runs:
            return
        self._leave_round(catalog)
        self._record_reused(catalog)
        self._record_seconds(None, catalog)
        self._close("FINISHED")

    def _leave_round(self, catalog: CatalogProtocol) -> None:
        """Record the time of the round's stages, and end its run."""
        found, self._round = self._round, None
        runs = self._runs_of(found)
        if found is not None and runs is not None:
            self._record_reused(catalog, rounds=[found])
            self._try(f"the end of {found}", lambda: runs.end_round("FINISHED"))

    def _record_reused(self, catalog: CatalogProtocol, rounds: Iterable[Round] | None = None) -> None:
        """Record what exists already of these rounds; None: of all, and of what follows them."""
        names = sorted(self._pipeline.all_outputs() - self._recorded, key=_round_order)
        wanted = None if rounds is None else {*rounds}
        for name in names:
            asked = wanted is None or round_named(name) in wanted
            if asked and self._recorder(name) is not None and catalog.exists(name):
                dataset = catalog[name]
                self._record(name, dataset.origin if isinstance(dataset, AdapterDataset) else dataset.load)
        made = {found for node in self._pipeline.nodes if (found := round_of(node)) is not None}
        for each in sorted(made if wanted is None else made & wanted):
            self._record_seconds(each, catalog)

    def _record_seconds(self, found: Round | None, catalog: CatalogProtocol) -> None:
        """Record once what each stage of a round took or, without a round, what the stages around the rounds took."""
        runs, what = self._runs_of(found), f"the time of {found or 'the other stages'}"
        if runs is None or what in self._recorded:
            return
        rounds = [(node, round_of(node)) for node in self._pipeline.nodes]
        seconds = stage_seconds([node for node, each in rounds if each == found], catalog, self._records.all())
        if seconds and found is not None:  # the base model trains nothing, and rounds share metric keys
            inside = [stage_of(node) for node, each in rounds if each is not None and each.method == found.method]
            seconds = {stage.name: 0.0 for stage in inside if stage is not None} | seconds
        number = found.number if found is not None else None
        if seconds and self._try(what, lambda: runs.log_seconds(seconds, number)):
            self._recorded.add(what)

    def _runs_of(self, found: Round | None) -> RoundRuns | None:
        """Return the run that a round belongs to; without a round the method's, or the only one."""
        return next(reversed(self._runs.values()), None) if found is None else self._runs.get(found.method)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Close the runs as FAILED, with the error's message."""
        said = printable(without_credentials(f"{type(error).__name__}: {error}"))
        for runs in self._runs.values():
            self._try("the error", partial(runs.client.set_tag, runs.parent, "error", said[:1000]))
        self._close("FAILED")

    def _close(self, status: str) -> None:
        """End the open runs, if this process opened some."""
        opened, self._runs = self._runs, {}
        atexit.unregister(self._close)
        for runs in opened.values():
            self._try(f"the status {status}", partial(runs.close, status))

    def _record(self, name: str, load: Callable[[], Any]) -> None:
        """Record a dataset if a stage says how."""
        recorder = self._recorder(name)
        if recorder is not None and self._try(name, lambda: recorder(load())):
            self._recorded.add(name)

    def _try(self, what: str, action: Callable[[], Any]) -> bool:
        """Record something; give up on a store that keeps failing, each time after its own retries."""
        if self._failures == MOST_FAILURES:
            return False
        with _only_warn(what):
            action()
            self._failures = 0
            return True
        self._failures += 1
        if self._failures == MOST_FAILURES:
            logger.warning(
                "Nothing more is recorded there. Later, the same command with --only-missing-outputs does it."
            )
        return False

    def _recorder(self, name: str) -> Callable[[Any], None] | None:
        """Return the function that records this dataset, or None."""
        found = round_named(name)
        runs, kind = self._runs_of(found), _tracked().get(_without_round(name))
        if runs is None or kind is None:
            return None
        if found is None:
            return lambda text: runs.client.log_text(runs.parent, text, kind)
        return lambda data: RECORDERS[kind](runs, found.number, data)


@cache
def _tracked() -> dict[str, str]:
    """Return how each dataset is recorded: a round's by its kind, any other under its file name."""
    return {name: kind for stage in stages() for name, kind in stage.tracked.items()}


def _round_order(name: str) -> tuple[int, bool, str]:
    """Sort by round, a round's metrics after the rest of it; other datasets come last."""
    found = round_named(name)
    return (10**9, False, name) if found is None else (found.number, _without_round(name) == "metrics", name)


def _without_round(name: str) -> str:
    """Return the name of a dataset within its round, or the whole name of one that belongs to none."""
    return name if round_named(name) is None else name.split(".", 2)[-1]


@contextmanager
def _only_warn(what: str) -> Iterator[None]:
    """Warn instead of ending the run when the store fails in the middle of it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError, DatasetError) as error:  # the last for a dataset that was pruned
        said = printable(without_credentials(str(error).split("\n")[0]))  # SQL and its values follow
        logger.warning("MLflow could not record %s: %s. The run goes on; its outputs are in the catalog.", what, said)
