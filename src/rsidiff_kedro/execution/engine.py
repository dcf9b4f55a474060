"""Run a step's shards, and a training's replicas, on the engine of the run: in this process or in workers of Ray."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import NoResult
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.execution.local import LocalEngine, Shard
from rsidiff_kedro.execution.progress import progress_bar

ATTEMPTS = 3
"""The number of times that a shard, or a training that makes no progress, is tried before a run ends."""

Input = TypeVar("Input")
Result = TypeVar("Result")


class ExecutionSettings(Section):
    """Choice of what runs the shards of generation, scoring, embedding and encoding, and the replicas of training.

    Attributes:
        engine: "local" is this process; "ray" needs the extra `ray`.
        workers: processes; None for one per GPU or, on CPUs, as many as have `threads` cores each.
        gpus_per_worker: None for one where the model computes on GPUs, else none.
        address: of a Ray cluster; None starts one on this machine for the run.
        threads: CPU threads of each process, on which the result of a training depends; None for torch's own number.
        max_restarts: workers that may be lost and replaced in a run.
    """

    engine: Annotated[Literal["local", "ray"], NoResult()] = "local"
    workers: Annotated[int | None, NoResult()] = Field(default=None, ge=1, le=1024)
    gpus_per_worker: Annotated[float | None, NoResult()] = Field(default=None, ge=0, le=16)
    address: Annotated[str | None, NoResult()] = Field(default=None, min_length=1)
    threads: Annotated[int | None, NoResult()] = Field(default=None, ge=1, le=1024)
    max_restarts: Annotated[int, NoResult()] = Field(default=8, ge=0)


class ExecutionError(InputError):
    """The engine cannot start, or cannot finish a step; the message says what to change."""


class WorkerLost(Exception):
    """A worker ended in the middle of a call, and what it had not written is lost."""


class Task(ABC, Generic[Input, Result]):
    """The work of a step on any of its shards; doing a shard twice makes the same result."""

    @abstractmethod
    def open(self) -> Callable[[Shard, Input], Result]:
        """Open the networks; return the function that makes a shard's result and keeps it, if there is a folder."""

    @abstractmethod
    def find(self, shard: Shard, given: Input) -> Result | None:
        """Return the result that is kept of a shard; None if it is missing or damaged."""

    @abstractmethod
    def portable(self) -> "Task[Input, Result] | None":
        """Return the task for other processes, small and without pixels; None if its parts cannot leave this one."""


class Replicas(Protocol):
    """Copies of one object, each opened by a worker and called in lockstep; `each` raises WorkerLost if one ended."""

    size: int

    def each(self, method: str, arguments: Sequence[Any]) -> list[Any]:
        """Call a method of every replica at once, each with its own argument; return the results in their order."""

    def chain(self, method: str, value: Any) -> Any:
        """Pass a value through a method of one replica after the other; return a handle on what comes out."""


class Engine(Protocol):
    """Run work. An engine may finish shards in any order, repeat them or lose them; `run_shards` copes with that."""

    def map(
        self, task: Task[Input, Result], calls: Sequence[tuple[Shard, Input]]
    ) -> Iterable[tuple[Shard, Result | None]]:
        """Yield shards as they finish, with their results; None if a result is kept, but was not passed on."""

    @property
    def replicas(self) -> "Callable[[Opening, int], Replicas] | None":
        """Return what opens up to so many copies in workers, anew in each call; None if this process works alone."""

    def close(self) -> None:
        """End the workers."""


class Opening(Protocol):
    """Open an object in a worker; an opening is small and picklable."""

    def open(self) -> Any:
        """Return the object."""


_current: ContextVar[Engine | None] = ContextVar("engine", default=None)
set_engine = _current.set
"""Set what runs the steps that follow; None for this process."""


def current_engine() -> Engine:
    """Return the engine of the run; outside a run, this process."""
    return _current.get() or LocalEngine()


def run_shards(
    task: Task[Input, Result],
    shards: Sequence[Shard],
    inputs: Callable[[Shard], Input],
    title: str,
    unit: str = "image",
    delay: float = 0,
) -> Iterator[tuple[Shard, Result]]:
    """Yield each shard once with its result: first those that are kept, then the others as they finish.

    A progress bar, shown after `delay` seconds, counts rows.

    Args:
        inputs: returns what a worker must know of a shard; small and picklable.

    Raises:
        ExecutionError: the engine has lost a shard three times.
    """
    total = shards[-1].stop if shards else 0
    with progress_bar(title, total=total, unit=unit, delay=delay, disable=not total) as progress:
        for shard, result in _results(task, shards, inputs):
            progress.update(shard.stop - shard.start)
            yield shard, result


def _results(
    task: Task[Input, Result], shards: Sequence[Shard], inputs: Callable[[Shard], Input]
) -> Iterator[tuple[Shard, Result]]:
    missing: dict[str, Shard] = {}
    for shard in shards:
        found = task.find(shard, inputs(shard))
        if found is None:
            missing[shard.key] = shard
        else:
            yield shard, found
    for _ in range(ATTEMPTS):
        calls = [(shard, inputs(shard)) for shard in missing.values()]
        if not calls:
            return
        for shard, made in current_engine().map(task, calls):
            if shard.key not in missing:
                continue
            result = made if made is not None else task.find(shard, inputs(shard))
            if result is not None:
                del missing[shard.key]
                yield shard, result
    if missing:
        first = next(iter(missing.values()))
        raise ExecutionError(
            f"{len(missing)} of {len(shards)} shards were made {ATTEMPTS} times and not found afterwards, first rows "
            f"{first.start} to {first.stop - 1} ({first.key}); the folder data/ must be the same on every machine"
        )
