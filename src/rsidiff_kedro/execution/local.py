"""Cut a step's plan into shards, and run them one after the other in this process."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from rsidiff_kedro.execution.engine import Task

Input = TypeVar("Input")
Result = TypeVar("Result")


class Shard(NamedTuple):
    """The rows [start, stop) of a step's plan; `key` names its result, in whichever order shards run."""

    key: str
    start: int
    stop: int


def split(keys: Sequence[str], size: int) -> Iterator[Shard]:
    """Cut a plan into shards of `size` rows, each named by the key of its first row."""
    for start in range(0, len(keys), size):
        yield Shard(keys[start], start, min(start + size, len(keys)))


class LocalEngine:
    """Run everything in this process, in order; it trains alone."""

    replicas = None

    def map(self, task: "Task[Input, Result]", calls: Sequence[tuple[Shard, Input]]) -> Iterator[tuple[Shard, Result]]:
        """Open the task, and yield each shard with its result."""
        run = task.open()
        for shard, given in calls:
            yield shard, run(shard, given)

    def close(self) -> None:
        """Do nothing."""
