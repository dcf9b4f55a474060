"""A step's plan is cut into shards, which run in order."""

import pytest

from rsidiff_kedro.execution.local import Shard, run_shards, split


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
    assert run_shards(shards, lambda shard: "abcdefg"[shard.start : shard.stop], "letters") == ["abc", "def", "g"]
    assert run_shards([], lambda shard: shard, "nothing") == []


def test_the_progress_bar_counts_rows(capsys: pytest.CaptureFixture[str]) -> None:
    run_shards(list(split("abcdefg", 3)), lambda shard: None, "letters", unit="letter")
    shown = capsys.readouterr().err
    assert "letters" in shown and "7/7" in shown
