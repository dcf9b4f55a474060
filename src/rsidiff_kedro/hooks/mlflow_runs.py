"""The MLflow runs of the rounds of a `kedro run`: a parent, and in it a child per round, which is open while it runs.

Runs are addressed by their ids, never through MLflow's global "active run", so several sessions in one process stay
apart.
"""

import json
import math
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel

from rsidiff_kedro.core.adapter import INFO_NAME, Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.datasets.adapter_folder import adapter_json
from rsidiff_kedro.evaluation.collapse import monitored_changes
from rsidiff_kedro.pipelines.stage import METHOD
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, resized, scale_for
from rsidiff_kedro.reporting.figures import training_figure
from rsidiff_kedro.reporting.gallery import spread_rows
from rsidiff_kedro.reporting.values import TEST_PREFIX

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHEET_IMAGES = 48
"""Images on a round's contact sheet."""
SHEET_COLUMNS = 8
GRID_IMAGES = 12
"""Images of each round that MLflow's image grid shows, the same prompts and seeds in every round."""
_KEY_LENGTH = 60
_BATCH = 100
"""The most parameters that MLflow takes at once."""
STRATEGIES = {
    "prompt_curation.enabled": "curation",
    "preference_selection.enabled": "selection",
    "weighting.enabled": "weighting",
}
"""The method's three strategies, by the parameter that switches each."""
CHILD_PARAMETERS = (
    "seed.",
    "model.family.",
    "model.base.",
    *(f"{key}." for key in STRATEGIES),
    "gate.enabled.",
    "preference_selection.rewards.",
    "preference_selection.floors.",
    "synthesis.early_dropping.",
    "prompt_curation.prompts_per_round.",
    "synthesis.samples_per_prompt.",
    "preference_selection.keep_per_prompt.",
    "finetune.steps.",
    "finetune.learning_rate.",
    "replay.rounds.",
)
"""Beginnings of the paths of parameters that a round's run repeats, to tell rounds apart, group and filter them."""


class RoundRuns:
    """An open parent run and its children; `begin` opens a round's and ends the one before."""

    def __init__(
        self,
        client: "MlflowClient",
        experiment_id: str,
        name: str,
        tags: Mapping[str, str],
        child_parameters: Mapping[str, str] | None = None,
        selecting: Collection[str] = (),
    ) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.parent = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
        self._name, self._child_parameters, self._selecting = name, child_parameters or {}, selecting
        self._children: dict[int, str] = {}
        self._measured: dict[int, Mapping[str, float | None]] = {}
        self._open: int | None = None

    def child(self, number: int) -> str:
        """Return the id of the round's run."""
        if number not in self._children:
            self.end_round("FINISHED")
            tags = {
                "mlflow.parentRunId": self.parent,
                "mlflow.note.content": f"Round {number}{' (the base model)' * (number == 0)} of: {self._name}",
                "round": str(number),
            }
            run = self.client.create_run(self.experiment_id, run_name=f"round_{number}", tags=tags)
            self._children[number] = run.info.run_id
            self._open = number
            self._log_parameters(run.info.run_id, {**self._child_parameters, "round": str(number)})
        return self._children[number]

    def end_round(self, status: str) -> None:
        """End the round's run that is open, if one is."""
        number, self._open = self._open, None
        if number is not None:
            self.client.set_terminated(self._children[number], status)

    def log_parameters(self, parameters: Mapping[str, str]) -> None:
        """Log parameters on the parent."""
        self._log_parameters(self.parent, parameters)

    def _log_parameters(self, run_id: str, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        flat = [Param(key, value) for key, value in parameters.items()]
        for start in range(0, len(flat), _BATCH):
            self.client.log_batch(run_id, params=flat[start : start + _BATCH])

    def log_metrics(self, number: int, metrics: Mapping[str, float | None]) -> None:
        """Log a round's metrics on its run and on the parent's, with step = round."""
        for run_id in (self.child(number), self.parent):
            self._log_batch(run_id, number, metrics)

    def log_measures(self, number: int, metrics: Mapping[str, float | None]) -> None:
        """Log what a round measured, and whether its adapter was tested; what was not measured has no value there."""
        tested = any(key.startswith(TEST_PREFIX) for key in metrics)
        self.client.set_tag(self.child(number), "tested", str(tested).lower())
        self.log_metrics(number, metrics)
        self._measured[number] = metrics
        self._log_collapse(number)

    def _log_collapse(self, number: int) -> None:
        """Log on the parent how far each monitor of collapse moved for the worse, in standard errors; tag signs."""
        rounds = [self._measured.get(each, {}) for each in range(number + 1)]
        changes = monitored_changes(rounds, self._selecting)
        self._log_batch(self.parent, number, {f"collapse/{metric_key(each.monitor)}": each.size for each in changes})
        signs = [str(each) for each in changes if each.clear]
        if signs:
            self.client.set_tag(self.child(number), "signs_of_collapse", "\n".join(signs))

    def log_training_metrics(self, number: int, metrics: Mapping[str, float | None]) -> None:
        """Log what a round trained on, on the parent only: round 0 trains nothing, and rounds share metric keys."""
        self._log_batch(self.parent, number, metrics)

    def log_seconds(self, seconds: Mapping[str, float], number: int | None = None) -> None:
        """Log the time that each stage took in a round or, without a number, before and after the rounds."""
        metrics = {f"time/{stage}_seconds": value for stage, value in seconds.items()}
        if number is not None:
            self.log_metrics(number, metrics)
        else:
            self._log_batch(self.parent, 0, metrics)

    def log_adapter(self, number: int, adapter: Adapter | str) -> None:
        """Log where the round's adapter comes from; a text is that of its `adapter.json`."""
        text = adapter if isinstance(adapter, str) else adapter_json(adapter)
        self.client.set_tag(self.child(number), "adapter", json.loads(text)["digest"])
        self.client.log_text(self.child(number), text, INFO_NAME)

    def log_images(self, number: int, images: ImageSet) -> None:
        """Log the round's test images: a contact sheet, and some on the parent for MLflow's grid, with step = round."""
        rows = spread_rows(images.metadata, SHEET_IMAGES)
        pictures = [images.images[row] for row in rows]
        captions = [str(images.metadata["text"].iloc[row]) for row in rows]
        scale = scale_for(pictures)
        sheet = contact_sheet(pictures, SHEET_COLUMNS, scale, captions)
        self.client.log_image(self.child(number), sheet, "test_images.png")
        for place, row in enumerate(spread_rows(images.metadata, GRID_IMAGES)):
            key = image_key(place, str(images.metadata["text"].iloc[row]))
            picture = resized(images.images[row], scale)
            self.client.log_image(self.parent, picture, key=key, step=number, synchronous=True)

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
        """End the round that is open and the parent with this status."""
        self.end_round(status)
        self.client.set_terminated(self.parent, status)


RECORDERS: dict[str, Callable[[RoundRuns, int, Any], None]] = {
    "metrics": RoundRuns.log_measures,
    "training_metrics": RoundRuns.log_training_metrics,
    "adapter": RoundRuns.log_adapter,
    "images": RoundRuns.log_images,
    "training_log": RoundRuns.log_training,
}
"""Functions that record a round's datasets, by the kinds that `Stage.tracked` names."""


def arm_of(parameters: Mapping[str, str]) -> str:
    """Name the arm of an experiment by the strategies that are switched off."""
    off = [name for key, name in STRATEGIES.items() if parameters.get(key) == "False"]
    arm = "method" if not off else "naive" if len(off) == len(STRATEGIES) else f"no {', no '.join(off)}"
    return f"{arm}, no gate" if parameters.get("gate.enabled") == "False" else arm


def run_name(parameters: Mapping[str, str], method: str) -> str:
    """Name a parent run by arm, seed and model family, such as "no weighting · seed 1 · stable_diffusion".

    `method` is `METHOD`, or the namespace of a stage apart, which is its arm.
    """
    seed, family = parameters.get("seed"), parameters.get("model.family")
    parts = [arm_of(parameters) if method == METHOD else method, seed and f"seed {seed}", family]
    return " · ".join(part for part in parts if part)


def metric_key(words: str) -> str:
    """Return words as the key of a metric, which takes letters, digits and few other characters."""
    return re.sub(r"[^A-Za-z0-9_./-]+", "_", words)


def image_key(place: int, prompt: str) -> str:
    """Return an image's key for MLflow, which takes letters, digits and few other characters."""
    words = re.sub(r"[^A-Za-z0-9_ -]+", " ", prompt)
    return f"{place + 1:02d} {' '.join(words.split())}"[:_KEY_LENGTH].strip()


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
