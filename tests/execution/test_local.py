"""A step's plan is cut into shards, which run in order."""

from collections.abc import Callable

import pytest

from rsidiff_kedro.execution.engine import Task, run_shards
from rsidiff_kedro.execution.local import Shard, split


class Letters(Task[None, str]):
    """The letters of a shard; nothing is kept."""

    def open(self) -> Callable[[Shard, None], str]:
        return lambda shard, given: "abcdefg"[shard.start : shard.stop]

    def find(self, shard: Shard, given: None) -> str | None:
        return None

    def portable(self) -> None:
        return None


@pytest.mark.parametrize(
    ("count", "shards"),
    [
        (0, []),
        (2, [Shard("0", 0, 2)]),
        (3, [Shard("0", 0, 3)]),
        (7, [Shard("0", 0, 3), Shard("3", 3, 6), Shard("6", 6, 7)]),
    ],
)
def test_a_plan_is_cut_into_shards_named_by_their_first_row(count: int, shards: list[Shard]) -> None:
    assert list(split([str(row) for row in range(count)], 3)) == shards


def test_results_come_in_the_shards_order() -> None:
    shards = list(split("abcdefg", 3))
    made = run_shards(Letters(), shards, lambda shard: None, "letters")
    assert list(made) == list(zip(shards, ["abc", "def", "g"], strict=True))
    assert list(run_shards(Letters(), [], lambda shard: None, "nothing")) == []


def test_the_progress_bar_counts_rows(capsys: pytest.CaptureFixture[str]) -> None:
    list(run_shards(Letters(), list(split("abcdefg", 3)), lambda shard: None, "letters", unit="letter"))
    shown = capsys.readouterr().err
    assert "letters" in shown and "7/7" in shown
