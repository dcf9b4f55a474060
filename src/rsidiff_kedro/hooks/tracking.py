"""What a run records in MLflow: a run per `kedro run` that makes rounds, and in it a child run a round.

Runs are addressed by their ids alone, never by MLflow's global "active run", so that several sessions in one process
keep apart. MLflow is imported when the first run starts: commands that run nothing do not wait for it.
"""

import atexit
import json
import logging
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from kedro.config import OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from pydantic import BaseModel

from rsidiff_kedro.datasets.adapter import adapter_json
from rsidiff_kedro.diffusion.adapters import INFO_NAME, Adapter
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.hooks.mlflow_store import TrackingSettings, connect, read_settings, store_errors
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for
from rsidiff_kedro.reporting.figures import training_figure
from rsidiff_kedro.reporting.gallery import spread_rows
from rsidiff_kedro.untrusted.text import printable, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

SHEET_IMAGES = 48
"""Prompts on a round's contact sheet."""
SHEET_COLUMNS = 8
_ROUND_DATASET = re.compile(r"(?:rsi|sft)\.round_(\d+)\.(\w+)")
MOST_FAILURES = 3
"""Failures of MLflow's store, one after the other, after which a run records nothing more."""
_BATCH = 100
"""MLflow takes no more parameters at once."""


class RoundRuns:
    """An open parent run and its children, one a round, each made when something of that round is recorded."""

    def __init__(self, client: "MlflowClient", experiment_id: str, name: str, tags: Mapping[str, str]) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.parent = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
        self._children: dict[int, str] = {}
        self._complete: set[int] = set()
        self._lock = threading.Lock()

    def child(self, number: int) -> str:
        """The id of the round's run."""
        with self._lock:
            if number not in self._children:
                tags = {"mlflow.parentRunId": self.parent, "round": str(number)}
                run = self.client.create_run(self.experiment_id, run_name=f"round_{number}", tags=tags)
                self._children[number] = run.info.run_id
            return self._children[number]

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """All parameters on the parent, nested ones by their path with dots."""
        from mlflow.entities import Param

        flat = [Param(key, value) for key, value in flattened(parameters)]
        for start in range(0, len(flat), _BATCH):
            self.client.log_batch(self.parent, params=flat[start : start + _BATCH])

    def log_metrics(self, number: int, metrics: Mapping[str, float | None]) -> None:
        """A round's metrics on its run and on the parent's, with step = round; this completes the round."""
        child = self.child(number)
        for run_id in (child, self.parent):
            self._log_batch(run_id, number, metrics)
        self.client.set_terminated(child, "FINISHED")
        self._complete.add(number)

    def log_training_metrics(self, number: int, metrics: Mapping[str, float | None]) -> None:
        """What a round trained on, on the parent alone: round 0 trains nothing, and rounds have equal metric keys."""
        self._log_batch(self.parent, number, metrics)

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


class TrackingHooks:
    """Records each run of a pipeline that makes rounds in MLflow, as conf/<env>/mlflow.yml says.

    A store that cannot be reached at the start stops the run before anything is spent. One that fails later costs a
    warning, never the run: everything that is recorded lies in the catalog too.
    """

    def __init__(self) -> None:
        self._settings = TrackingSettings(enabled=False)
        self._root = Path()
        self._runs: RoundRuns | None = None
        self._recorded: set[str] = set()
        self._failures = 0
        self._process = 0

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read mlflow.yml; a context is also made by commands that run nothing."""
        loader = context.config_loader
        if isinstance(loader, OmegaConfigLoader):
            loader.config_patterns.setdefault("mlflow", ["mlflow*", "mlflow*/**"])
        self._settings = read_settings(loader["mlflow"])
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
        self._process = os.getpid()
        atexit.register(self._close, "KILLED")  # Kedro calls no hook on Ctrl-C

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Record what belongs to a run, as soon as it is there."""
        match = _ROUND_DATASET.fullmatch(dataset_name)
        if match is not None and self._runs is not None and os.getpid() == self._process:
            self._try(f"the beginning of round {match[1]}", lambda: self._runs and self._runs.child(int(match[1])))
        self._record(dataset_name, lambda: data)

    @hook_impl
    def after_pipeline_run(
        self, run_params: dict[str, Any], run_result: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Record what no hook of this process saw (reused datasets, worker processes) and close the runs."""
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
        if runs is not None and os.getpid() == self._process:
            self._try(f"the status {status}", lambda: runs.close(status))

    def _record(self, name: str, load: Callable[[], Any]) -> None:
        """Record a dataset of ours; the others, and those of a worker process, are passed over."""
        recorder = self._recorder(name)
        if recorder is None or os.getpid() != self._process:
            return
        if self._try(name, lambda: recorder(load())):
            self._recorded.add(name)

    def _try(self, what: str, action: Callable[[], Any]) -> bool:
        """Record something; a store that fails again and again, each time after its own retries, is let alone."""
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
        """What records this dataset, or None."""
        runs = self._runs
        if runs is None:
            return None
        if name == "summary":
            return lambda text: runs.client.log_text(runs.parent, text, "summary.txt")
        if name == "report":
            return lambda html: runs.client.log_text(runs.parent, html, "report.html")
        match = _ROUND_DATASET.fullmatch(name)
        if match is None:
            return None
        number = int(match[1])
        by_name: dict[str, Callable[[Any], None]] = {
            "metrics": lambda data: runs.log_metrics(number, data),
            "adapter": lambda data: _log_adapter(runs, number, data),
            "test_images": lambda data: _log_images(runs, number, data),
            "training_metrics": lambda data: runs.log_training_metrics(number, data),
            "training_log": lambda data: _log_training(runs, number, data),
        }
        return by_name.get(match[2])


def flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Parameters by their path with dots; lists and empty mappings as JSON."""
    for key, value in tree.items():
        if isinstance(value, BaseModel):  # Kedro has made models of the sections that nodes take as such
            value = value.model_dump()
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        elif isinstance(value, Mapping | list | tuple):
            yield f"{prefix}{key}", json.dumps(value, default=str)
        else:
            yield f"{prefix}{key}", str(value)


def _log_adapter(runs: RoundRuns, number: int, adapter: Adapter) -> None:
    child = runs.child(number)
    runs.client.set_tag(child, "adapter", adapter.digest)
    runs.client.log_text(child, adapter_json(adapter), INFO_NAME)


def _log_images(runs: RoundRuns, number: int, images: ImageSet) -> None:
    rows = spread_rows(images.metadata, SHEET_IMAGES)
    pictures = [images.images[row] for row in rows]
    captions = [str(images.metadata["text"].iloc[row]) for row in rows]
    sheet = contact_sheet(pictures, SHEET_COLUMNS, scale_for(pictures), captions)
    runs.client.log_image(runs.child(number), sheet, "test_images.png")


def _log_training(runs: RoundRuns, number: int, log: pd.DataFrame) -> None:
    child = runs.child(number)
    runs.client.log_text(child, log.to_csv(index=False), "training_log.csv")
    runs.client.log_figure(child, training_figure(log, f"Training of round {number}"), "training_log.html")


def _round_order(name: str) -> tuple[int, bool, str]:
    """Rounds in order, a round's metrics after the rest of it, what is no round's last."""
    match = _ROUND_DATASET.fullmatch(name)
    if match is None:
        return (10**9, False, name)
    return (int(match[1]), match[2] == "metrics", name)


@contextmanager
def _only_warn(what: str) -> Iterator[None]:
    """A store that fails in the middle of a run must not cost the run."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError, DatasetError) as error:  # the last of a dataset that was pruned
        said = printable(without_credentials(str(error)))
        logger.warning("MLflow could not record %s: %s. The run goes on; its outputs are in the catalog.", what, said)
