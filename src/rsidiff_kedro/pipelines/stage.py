"""Define a stage: everything that the rest of the project needs to know about one step of the method.

The registry, the links between rounds, retention, tracking, the checks before a run and the advice when memory runs out
all read it. A new stage is one folder with a `stage` in its `__init__.py`, and one line in `pipelines/__init__.py`.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial, update_wrapper
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, NamedTuple

from kedro.pipeline import Pipeline, pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro.core.section import Section

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters
    from rsidiff_kedro.pipelines.requirements import Requirement

METHOD = "rsi"
"""The outer namespace of all rounds."""
TRAINS = "trains"
"""The tag of nodes that train, whose result depends on the number of threads."""
_IN_ROUND = re.compile(r"(\w+)\.round_(\d+)(?:\.|$)")


class Round(NamedTuple):
    """A round of the method, or of a stage apart that counts its own, such as sft."""

    method: str
    number: int

    def __str__(self) -> str:
        return f"round {self.number}{f' of {self.method}' * (self.method != METHOD)}"


class Place(Enum):
    """The place of a stage in a run; it decides which arguments `Stage.create` takes."""

    BEFORE = "once, before the rounds: create()"
    EVERY_ROUND = "in rounds 0 (the base model) to N: create(round_number)"
    TRAINED_ROUNDS = "in rounds 1 to N: create(round_number)"
    AFTER = "once, after the rounds: create({name: {round: the full name of that dataset}})"
    APART = "in a separate pipeline: create()"


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: of its pipeline (`kedro run --pipeline=<name>`), the tag of its nodes and their innermost namespace.
        place: see `Place`.
        create: makes its nodes; they name datasets without a namespace.
        shared: datasets that exist once per run; any other dataset of a round's stage belongs to the round.
        from_parent: the stage's names for datasets of the round before, and that round's names.
        create_untested: makes its nodes in a round whose adapter is not tested; None: as `create`.
        from_tested: the stage's names for datasets of the last tested round before, and that round's names.
        from_base: the stage's names for datasets of the base model, and their full names.
        from_all_rounds: datasets of all rounds that a stage after the rounds reads.
        from_tested_rounds: those that only tested rounds have.
        requires: yields what must be in order before a run, see `Requirement`.
        lower: the settings to lower when memory runs out in it.
        tracked: how MLflow records its datasets, by a key of `hooks.mlflow_runs.RECORDERS`.
        prunable: datasets of old rounds whose large files `kedro rsi prune` may delete.
        final: the full name of the dataset that completes a run, written as a literal (see `pipelines.finals`).
        settings: sections of the parameters that this stage adds, by name.
        namespace: of the datasets of a stage apart.
    """

    name: str
    place: Place
    create: Callable[..., Pipeline]
    shared: tuple[str, ...] = ()
    from_parent: Mapping[str, str] = field(default_factory=dict)
    create_untested: Callable[[int], Pipeline] | None = None
    from_tested: Mapping[str, str] = field(default_factory=dict)
    from_base: Mapping[str, str] = field(default_factory=dict)
    from_all_rounds: tuple[str, ...] = ()
    from_tested_rounds: tuple[str, ...] = ()
    requires: "Callable[[Parameters], Iterable[Requirement]]" = lambda parameters: ()
    lower: str = ""
    tracked: Mapping[str, str] = field(default_factory=dict)
    prunable: frozenset[str] = frozenset()
    final: str | None = None
    settings: Mapping[str, type[Section]] = field(default_factory=dict)
    namespace: str = ""

    def of_rounds(self, rounds: int, tested: Collection[int] | None = None) -> Pipeline:
        """Return the stage for a run of so many rounds, under its namespaces and with its tag.

        `tested` are the rounds whose adapters are tested; None for all.
        """
        tested = sorted(range(rounds + 1) if tested is None else tested)
        if self.place in (Place.EVERY_ROUND, Place.TRAINED_ROUNDS):
            first = 0 if self.place is Place.EVERY_ROUND else 1
            # One Pipeline of a list: adding pipelines one by one takes seconds at a hundred rounds.
            return Pipeline([self._in_round(number, tested) for number in range(first, rounds + 1)], tags=self.name)
        if self.place is Place.APART:
            nodes = self.create()
            return Pipeline([self._link(nodes, self.namespace, {}) if self.namespace else nodes], tags=self.name)
        numbers = {name: range(rounds + 1) for name in self.from_all_rounds} | dict.fromkeys(
            self.from_tested_rounds, tested
        )
        names = {name: {number: _round(number, name) for number in of} for name, of in numbers.items()}
        nodes = self.create(names) if self.place is Place.AFTER else self.create()
        return Pipeline([_within(nodes, self.name)], tags=self.name)

    def _in_round(self, number: int, tested: Sequence[int]) -> Pipeline:
        before = {name: _round(number - 1, theirs) for name, theirs in self.from_parent.items()}
        last = max((each for each in tested if each < number), default=0)
        before |= {name: _round(last, theirs) for name, theirs in self.from_tested.items()}
        create = self.create if number in tested else self.create_untested or self.create
        return self._link(_within(create(number), self.name), f"{METHOD}.round_{number}", before)

    def _link(self, nodes: Pipeline, namespace: str, before: Mapping[str, str]) -> Pipeline:
        """Put nodes under a namespace, and link them to shared datasets, rounds before and the base."""
        links = {**{name: name for name in self.shared}, **before, **self.from_base}
        inputs, outputs = nodes.inputs(), nodes.outputs()
        return pipeline(
            nodes,
            namespace=namespace,
            inputs={name: target for name, target in links.items() if name in inputs},
            outputs={name: name for name in self.shared if name in outputs},
            parameters={name for name in inputs if name.startswith("params:")},
        )


def _within(nodes: Pipeline, namespace: str) -> Pipeline:
    """Put nodes under a namespace, which Kedro-Viz folds into one box; datasets keep their names."""
    return pipeline(nodes, namespace=namespace, prefix_datasets_with_namespace=False)


def _round(number: int, name: str) -> str:
    return f"{METHOD}.round_{number}.{name}"


def round_of(node: Node) -> Round | None:
    """Return the round that a node belongs to; None: it runs once, before or after the rounds."""
    names = (node.namespace or "", *node.outputs)
    return next((found for name in names if (found := round_named(name)) is not None), None)


def round_named(name: str) -> Round | None:
    """Return the round that the name of a dataset or a namespace begins with; None if it belongs to none."""
    match = _IN_ROUND.match(name)
    return Round(match[1], int(match[2])) if match is not None else None


def round_in(name: str) -> int | None:
    """Return the number of the round that a name begins with; None if it belongs to none."""
    found = round_named(name)
    return found.number if found is not None else None


def by_rounds(nodes: Pipeline) -> Iterator[Node]:
    """Yield nodes in an order that finishes each round before the next; Kedro's own order mixes them.

    Of one number, the round of the method comes first.
    """
    last: dict[Node, tuple[int, bool, str]] = {}  # the last round a node needs, if it only follows it, whose it is
    for node in nodes.nodes:
        found, parents = round_of(node), [last[each][0] for each in nodes.node_dependencies[node]]
        alone = (max(parents, default=-1), True, "")
        last[node] = alone if found is None else (found.number, False, found.method.removeprefix(METHOD))
    order = {node: (*last[node], position) for position, node in enumerate(nodes.nodes)}
    sorter = TopologicalSorter(nodes.node_dependencies)
    sorter.prepare()
    ready = {*sorter.get_ready()}
    while ready:
        node = min(ready, key=order.__getitem__)
        yield node
        sorter.done(node)
        ready = ready - {node} | {*sorter.get_ready()}


def bind(function: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """Fix arguments of a node function that are no parameters, such as its round's number.

    The name and annotations of the function remain. `rounds` must be an input of no node: more rounds then leave the
    nodes of the first ones unchanged.
    """
    return update_wrapper(partial(function, **fixed), function)


def compose(stages: Sequence[Stage], rounds: int, tested: Collection[int] | None = None) -> dict[str, Pipeline]:
    """Return each stage's pipeline by name, and the whole method as `rsi`; see `Stage.of_rounds`."""
    parts = {stage.name: stage.of_rounds(rounds, tested) for stage in stages}
    whole = [parts[stage.name] for stage in stages if stage.place is not Place.APART]
    return {METHOD: Pipeline(whole), **parts}
