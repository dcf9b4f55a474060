"""Record runs in MLflow: one run per `kedro run` that makes rounds, and in it one child run per round.

Runs are addressed by their ids, never through MLflow's global "active run", so several sessions in one process stay
apart. MLflow is imported when the first run starts, so other commands do not wait for it.
"""

import atexit
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import BaseModel

from rsidiff_kedro.core.adapter import INFO_NAME, Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.untrusted.text import printable, without_credentials
from rsidiff_kedro.datasets.adapter_folder import adapter_json
from rsidiff_kedro.hooks.mlflow_store import TrackingSettings, connect, read_settings, store_errors
from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for
from rsidiff_kedro.reporting.figures import training_figure
from rsidiff_kedro.reporting.gallery import spread_rows

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

SHEET_IMAGES = 48
"""Images on a round's contact sheet."""
SHEET_COLUMNS = 8
_ROUND_DATASET = re.compile(r"(?:rsi|sft)\.round_(\d+)\.(\w+)")
MOST_FAILURES = 3
"""Consecutive failures of MLflow's store after which a run records nothing more."""
_BATCH = 100
"""The most parameters that MLflow takes at once."""


class RoundRuns:
    """An open parent run and its children, one per round, each made when something of its round is recorded."""

    def __init__(self, client: "MlflowClient", experiment_id: str, name: str, tags: Mapping[str, str]) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.parent = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
        self._children: dict[int, str] = {}
        self._complete: set[int] = set()

    def child(self, number: int) -> str:
        """Return the id of the round's run."""
        if number not in self._children:
            tags = {"mlflow.parentRunId": self.parent, "round": str(number)}
            run = self.client.create_run(self.experiment_id, run_name=f"round_{number}", tags=tags)
            self._children[number] = run.info.run_id
        return self._children[number]

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log all parameters on the parent, nested ones by their path with dots."""
        from mlflow.entities import Param

        flat = [Param(key, value) for key, value in flattened(parameters)]
        for start in range(0, len(flat), _BATCH):
            self.client.log_batch(self.parent, params=flat[start : start + _BATCH])

    def log_metrics(self, number: int, metrics: Mapping[str, float | None]) -> None:
        """Log a round's metrics on its run and on the parent's, with step = round; this completes the round."""
        child = self.child(number)
        for run_id in (child, self.parent):
            self._log_batch(run_id, number, metrics)
        self.client.set_terminated(child, "FINISHED")
        self._complete.add(number)

    def log_training_metrics(self, number: int, metrics: Mapping[str, float | None]) -> None:
        """Log what a round trained on, on the parent only: round 0 trains nothing, and rounds share metric keys."""
        self._log_batch(self.parent, number, metrics)

    def log_adapter(self, number: int, adapter: Adapter) -> None:
        """Log where the round's adapter comes from."""
        self.client.set_tag(self.child(number), "adapter", adapter.digest)
        self.client.log_text(self.child(number), adapter_json(adapter), INFO_NAME)

    def log_images(self, number: int, images: ImageSet) -> None:
        """Log a contact sheet of the round's test images."""
        rows = spread_rows(images.metadata, SHEET_IMAGES)
        pictures = [images.images[row] for row in rows]
        captions = [str(images.metadata["text"].iloc[row]) for row in rows]
        sheet = contact_sheet(pictures, SHEET_COLUMNS, scale_for(pictures), captions)
        self.client.log_image(self.child(number), sheet, "test_images.png")

    def log_training(self, number: int, log: pd.DataFrame) -> None:
        """Log the round's training, as a table and as a plot."""
        self.client.log_text(self.child(number), log.to_csv(index=False), "training_log.csv")
        figure = training_figure(log, f"Training of round {number}")
        self.client.log_figure(self.child(number), figure, "training_log.html")

    def _log_batch(self, run_id: str, number: int, metrics: Mapping[str, float | None]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        values = {key: math.nan if value is None else float(value) for key, value in metrics.items()}
        self.client.log_batch(run_id, metrics=[Metric(key, value, now, number) for key, value in values.items()])

    def close(self, status: str) -> None:
        """End the parent, and the rounds that are not complete, with this status."""
        for number, run_id in self._children.items():
            if number not in self._complete:
                self.client.set_terminated(run_id, status)
        self.client.set_terminated(self.parent, status)


RECORDERS: dict[str, Callable[[RoundRuns, int, Any], None]] = {
    "metrics": RoundRuns.log_metrics,
    "training_metrics": RoundRuns.log_training_metrics,
    "adapter": RoundRuns.log_adapter,
    "images": RoundRuns.log_images,
    "training_log": RoundRuns.log_training,
}
"""Functions that record a round's datasets, by the kinds that `Stage.tracked` names."""


class TrackingHooks:
    """Record each run of a pipeline that makes rounds in MLflow, as conf/<env>/mlflow.yml says.

    A store that cannot be reached at the start stops the run before anything is spent. One that fails later costs a
    warning, never the run: everything that is recorded is in the catalog too.
    """

    def __init__(self) -> None:
        self._settings = TrackingSettings(enabled=False)
        self._root = Path()
        self._runs: RoundRuns | None = None
        self._recorded: set[str] = set()
        self._failures = 0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read mlflow.yml; a context is also made by commands that run nothing."""
        self._settings = read_settings(context.config_loader["mlflow"])
        self._root = Path(context.project_path).resolve()

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Open the parent run, with all parameters."""
        self._close("KILLED")  # a run before this one, in a notebook, that was interrupted
        if not self._settings.enabled or not any(_ROUND_DATASET.fullmatch(name) for name in pipeline.all_outputs()):
            return
        tags = {
            "mlflow.source.name": "kedro run",
            "kedro.run_id": str(run_params["run_id"]),
            "kedro.env": str(run_params.get("env") or "base"),
            "kedro.pipelines": ", ".join(run_params.get("pipeline_names") or ["__default__"]),
        }
        parameters = catalog.get("parameters")
        with store_errors(self._settings.absolute_uri(self._root)):
            client, experiment_id = connect(self._settings, self._root)
            self._runs = RoundRuns(client, experiment_id, str(run_params["run_id"]), tags)
            if parameters is not None:
                self._runs.log_parameters(parameters.load())
        self._recorded, self._failures = set(), 0
        atexit.register(self._close, "KILLED")  # Kedro calls no hook on Ctrl-C

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Record a dataset as soon as it exists."""
        match = _ROUND_DATASET.fullmatch(dataset_name)
        if match is not None and self._runs is not None:
            self._try(f"the beginning of round {match[1]}", lambda: self._runs and self._runs.child(int(match[1])))
        self._record(dataset_name, lambda: data)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], run_result: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Record the reused datasets and close the runs."""
        if self._runs is None:
            return
        for name in sorted(pipeline.all_outputs() - self._recorded, key=_round_order):
            if self._recorder(name) is not None and catalog.exists(name):
                self._record(name, catalog[name].load)
        self._close("FINISHED")

    @hook_impl
    def on_pipeline_error(
        self, error: Exception, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Close the runs as FAILED, with the error's message."""
        if self._runs is None:
            return
        runs = self._runs
        said = printable(without_credentials(f"{type(error).__name__}: {error}"))
        self._try("the error", lambda: runs.client.set_tag(runs.parent, "error", said[:1000]))
        self._close("FAILED")

    def _close(self, status: str) -> None:
        """End the open runs, if this process opened some."""
        runs, self._runs = self._runs, None
        atexit.unregister(self._close)
        if runs is not None:
            self._try(f"the status {status}", lambda: runs.close(status))

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
        runs, match = self._runs, _ROUND_DATASET.fullmatch(name)
        kind = _tracked().get(match[2] if match else name)
        if runs is None or kind is None:
            return None
        if match is None:
            return lambda text: runs.client.log_text(runs.parent, text, kind)
        return lambda data: RECORDERS[kind](runs, int(match[1]), data)


@cache
def _tracked() -> dict[str, str]:
    """Return how each dataset is recorded: a round's by its kind, any other under its file name."""
    return {name: kind for stage in stages() for name, kind in stage.tracked.items()}


def flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield parameters by their path with dots; lists and empty mappings as JSON."""
    for key, value in tree.items():
        if isinstance(value, BaseModel):  # Kedro turns sections into the models that nodes declare
            value = value.model_dump()
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, Mapping | list | tuple):
            yield f"{prefix}{key}", json.dumps(value, default=str)
        else:
            yield f"{prefix}{key}", str(value)


def _round_order(name: str) -> tuple[int, bool, str]:
    """Sort by round, a round's metrics after the rest of it; other datasets come last."""
    match = _ROUND_DATASET.fullmatch(name)
    if match is None:
        return (10**9, False, name)
    return (int(match[1]), match[2] == "metrics", name)


@contextmanager
def _only_warn(what: str) -> Iterator[None]:
    """Warn instead of ending the run when the store fails in the middle of it."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError, DatasetError) as error:  # the last for a dataset that was pruned
        said = printable(without_credentials(str(error)))
        logger.warning("MLflow could not record %s: %s. The run goes on; its outputs are in the catalog.", what, said)
