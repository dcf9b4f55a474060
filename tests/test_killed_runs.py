"""Runs that are killed and resumed end in the same bytes as a run that nobody disturbed."""

from pathlib import Path

from kedro_process import KedroProcess
from kill_test import kill_test


def test_six_kills_lose_nothing_and_change_nothing(tmp_path: Path) -> None:
    stages = ("prompt_curation", "synthesis", "weighting", "finetune", "gate", "evaluation")
    kills = list(kill_test(6, tmp_path, order=stages, rounds=2, start=KedroProcess))
    assert [kill.stage for kill in kills] == list(stages)
    reused = [int(kill.reused.split()[0]) for kill in kills]
    assert reused == sorted(reused)
    assert reused[-1] > 15
