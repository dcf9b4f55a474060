"""Run a step's shards one after the other in this process."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from rsidiff_kedro.execution.progress import progress_bar

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


def run_shards(
    shards: Sequence[Shard], run: Callable[[Shard], Result], title: str, unit: str = "image", delay: float = 0
) -> list[Result]:
    """Return the results in the shards' order; a progress bar, shown after `delay` seconds, counts rows."""
    results = []
    total = shards[-1].stop if shards else 0
    with progress_bar(title, total=total, unit=unit, delay=delay, disable=not total) as progress:
        for shard in shards:
            results.append(run(shard))
            progress.update(shard.stop - shard.start)
    return results
