"""Whatever an engine shuffles, repeats or loses, each shard comes once, or the run says why not."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsidiff_kedro.execution.engine import ATTEMPTS, ExecutionError, Task, run_shards, set_engine
from rsidiff_kedro.execution.local import LocalEngine, Shard, split
from rsidiff_kedro.execution.partial_results import PartialResults


class Squares(Task[range, torch.Tensor]):
    """The squares of numbers."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.opened, self.made = folder, 0, list[str]()

    def open(self) -> Callable[[Shard, range], torch.Tensor]:
        self.opened += 1
        return self.run

    def run(self, shard: Shard, numbers: range) -> torch.Tensor:
        self.made.append(shard.key)
        values = torch.tensor([float(number**2) for number in numbers])
        PartialResults(self.folder).save(shard.key, values)
        return values

    def find(self, shard: Shard, numbers: range) -> torch.Tensor | None:
        return PartialResults(self.folder).load(shard.key, len(numbers))

    def portable(self) -> "Squares":
        return self


class UnreliableEngine(LocalEngine):
    """Shuffles, repeats and loses shards; hands results on or leaves them in the folder; never loses all of a pass."""

    def __init__(self, seed: int, loses: float) -> None:
        self.random, self.loses = Random(seed), loses

    def map(self, task: Task, calls: Sequence[tuple[Shard, range]]) -> Iterator[tuple[Shard, torch.Tensor | None]]:
        run = task.open()
        order = [*calls, *self.random.choices(calls, k=len(calls) // 2)]
        self.random.shuffle(order)
        for shard, numbers in order:
            if self.random.random() < self.loses:
                continue
            result = run(shard, numbers)
            yield shard, self.random.choice([result, None]) if task.folder else result


@contextmanager
def engine(made: LocalEngine) -> Iterator[None]:
    set_engine(made)
    try:
        yield
    finally:
        set_engine(None)


def squares(task: Squares, count: int, size: int) -> list[float]:
    shards = list(split([str(row) for row in range(count)], size))
    found = list(run_shards(task, shards, lambda shard: range(shard.start, shard.stop), "squares"))
    assert sorted(shard for shard, _ in found) == sorted(shards), "each shard once"
    parts = dict(found)
    return torch.cat([parts[shard] for shard in shards]).tolist() if shards else []


@given(count=st.integers(0, 40), size=st.integers(1, 7), seed=st.integers(0, 1000), in_folder=st.booleans())
def test_shuffled_and_repeated_shards_come_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, size: int, seed: int, in_folder: bool
) -> None:
    folder = tmp_path_factory.mktemp("kept") if in_folder else None
    with engine(UnreliableEngine(seed, loses=0.0)):
        assert squares(Squares(folder), count, size) == [float(row**2) for row in range(count)]


@given(count=st.integers(1, 30), size=st.integers(1, 7), seed=st.integers(0, 1000), loses=st.floats(0.0, 0.9))
def test_lost_shards_are_asked_for_again_or_the_run_ends(count: int, size: int, seed: int, loses: float) -> None:
    with engine(UnreliableEngine(seed, loses)):
        try:
            assert squares(Squares(), count, size) == [float(row**2) for row in range(count)]
        except ExecutionError as error:
            assert f"{ATTEMPTS} times" in str(error)


def test_a_shard_that_is_always_lost_ends_the_run_and_names_its_rows() -> None:
    task = Squares()
    with engine(UnreliableEngine(0, loses=1.0)), pytest.raises(ExecutionError, match=r"first rows 0 to 2 \(0\)"):
        squares(task, 7, 3)
    assert task.opened == ATTEMPTS


@given(seed=st.integers(0, 1000), kept=st.sets(st.integers(0, 6)))
def test_another_engine_continues_what_one_has_kept(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kept: set[int]
) -> None:
    folder, shards = tmp_path_factory.mktemp("kept"), list(split([str(row) for row in range(20)], 3))
    first = Squares(folder)
    for number in kept:
        first.run(shards[number], range(shards[number].start, shards[number].stop))
    then = Squares(folder)
    with engine(UnreliableEngine(seed, loses=0.0)):
        assert squares(then, 20, 3) == [float(row**2) for row in range(20)]
    assert set(then.made) == {shard.key for number, shard in enumerate(shards) if number not in kept}


def test_a_step_whose_shards_are_all_kept_opens_nothing(tmp_path: Path) -> None:
    squares(Squares(tmp_path), 7, 3)
    again = Squares(tmp_path)
    assert squares(again, 7, 3) == [float(row**2) for row in range(7)]
    assert (again.opened, again.made) == (0, [])


def test_the_engine_of_a_run_ends_with_it() -> None:
    task = Squares()
    with engine(UnreliableEngine(0, loses=1.0)):
        pass
    assert squares(task, 4, 2) == [0.0, 1.0, 4.0, 9.0]
