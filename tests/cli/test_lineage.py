"""`kedro rsi lineage` shows what made a dataset, back to the prompts."""

import re
from collections.abc import Callable

from click.testing import Result


def test_the_parameters_of_every_training_step_in_the_chain_are_shown(rsi: Callable[..., Result]) -> None:
    shown = rsi("lineage", "rsi.round_2.adapter").output
    steps = dict(re.findall(r"^(\S+)  version .*\n((?:    .*\n)*)", shown, re.MULTILINE))
    assert "prompt_curation.collect_prompts" in steps
    for number in (1, 2):
        training = steps[f"rsi.round_{number}.finetune.finetune"]
        assert "    finetune.steps = 3\n" in training
        assert "    seed = 0\n" in training
        assert f"from rsi.round_{number}.training_set version 20" in training
    assert "Libraries: " in shown
