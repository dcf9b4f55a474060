"""Say where a run is: bars begin with "round 2/6", and each round ends with one line, and warnings of collapse."""

import logging
import math
import time
from collections.abc import Iterable
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro.evaluation.collapse import signs_of_collapse
from rsidiff_kedro.execution.progress import set_place
from rsidiff_kedro.method.selecting import selecting_of
from rsidiff_kedro.pipelines.stage import METHOD, round_of
from rsidiff_kedro.reporting.values import REWARD_PREFIX, Metrics, duration, gate_verdict, reward_names, values_of

logger = logging.getLogger(__name__)
ACCURACY = "test/prompt_accuracy"


class ProgressHooks:
    """Follow the rounds of a run, which the runner makes one after the other."""

    def __init__(self) -> None:
        self._rounds = self._last = 0
        self._round: int | None = None
        self._began = self._longest = 0.0
        self._metrics: dict[int, Metrics] = {}
        self._selecting: dict[str, str] = {}

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Find out how many rounds there are, and which is the last that runs."""
        stored = catalog.get("parameters")
        self._last = max((number for node in pipeline.nodes if (number := _round(node)) is not None), default=0)
        parameters = stored.load() if stored is not None else {}
        self._rounds = int(parameters.get("rounds", self._last))
        self._selecting = selecting_of(parameters)
        self._round, self._longest, self._metrics = None, 0.0, {}

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol) -> None:
        """Set what the step's bars begin with; at a round's first step, end the one before."""
        number = _round(node)
        if number == self._round:
            return
        self._end_round(catalog)
        self._round, self._began = number, time.monotonic()
        set_place("" if number is None else f"round {number}/{self._rounds}")

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any) -> None:
        """Keep the metrics of the round."""
        if self._round is not None and dataset_name == _metrics_of(self._round):
            self._metrics[self._round] = data

    @hook_impl
    def after_pipeline_run(self, catalog: CatalogProtocol) -> None:
        """End the last round."""
        self._end_round(catalog)
        set_place("")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Forget the round."""
        self._round = None
        set_place("")

    def _end_round(self, catalog: CatalogProtocol) -> None:
        """Say in one line what a round that has been measured brought, and about how long the others will take."""
        number, self._round = self._round, None
        if number is None or number not in self._metrics:
            return
        seconds = time.monotonic() - self._began
        parts = [
            _result(self._selecting, self._metrics[number], self._before(number, catalog)),
            _gate(number, self._metrics[number]),
        ]
        line = f"Round {number}/{self._rounds}: {', '.join(parts)}, took {duration(seconds)}"
        if number:  # the base model trains nothing; of a round that was continued, only the rest was timed
            self._longest = max(self._longest, seconds)
        if self._longest and number < self._last:
            line += f"; about {duration((self._last - number) * self._longest)} left"
        logger.info("%s", line)
        rounds = [self._before(each + 1, catalog) for each in range(number)] + [self._metrics[number]]
        for sign in signs_of_collapse(rounds, self._selecting):
            logger.warning("Round %d shows a sign of collapse: %s", number, sign)

    def _before(self, number: int, catalog: CatalogProtocol) -> Metrics:
        """Return the metrics of the round before, also if they were reused; empty if there are none."""
        name = _metrics_of(number - 1)
        if number - 1 not in self._metrics and number and catalog.exists(name):
            self._metrics[number - 1] = catalog[name].load()
        return self._metrics.get(number - 1, {})


def _round(node: Node) -> int | None:
    """Return the node's round of the method; the baseline `sft` has one of its own."""
    found = round_of(node)
    return found.number if found is not None and found.method == METHOD else None


def _metrics_of(number: int) -> str:
    return f"{METHOD}.round_{number}.metrics"


def _result(selecting: Iterable[str], metrics: Metrics, before: Metrics) -> str:
    """Say the first of what was measured, and its change since the round before.

    It is the judged accuracy or, without a judge, the first reward that selects or, if none does, the first reward.
    """
    shown = dict.fromkeys([*selecting, *reward_names([metrics])])
    for key in (ACCURACY, *(f"{REWARD_PREFIX}{name}" for name in shown)):
        value, old = values_of([metrics, before], key)
        if not math.isnan(value):
            change = "" if math.isnan(old) else f" ({value - old:+.3f})"
            return f"{key.removeprefix('test/').replace('_', ' ').replace('/', ' ')} {value:.3f}{change}"
    return "nothing measured"


def _gate(number: int, metrics: Metrics) -> str:
    """Say what became of the round's candidate."""
    if number == 0:
        return "the base model"
    said = {"rejected": "candidate rejected by the gate", "no gate": "candidate used without a gate"}
    return said.get(gate_verdict(metrics), "candidate accepted")
