"""How often rewards and the judge prefer the image that a person preferred."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.core.votes import Votes
from rsidiff_kedro.labelling import agreement as agreement_module
from rsidiff_kedro.labelling.agreement import (
    agreement,
    agreement_text,
    judge_agreement,
    reward_agreements,
)
from rsidiff_kedro.rewards.settings import RewardsSettings, VotesSettings

GiveVotes = Callable[..., Votes]
SETTINGS = RewardsSettings(votes=VotesSettings(features="proxy", penalty=1.0))


def brightness(image: Image.Image) -> float:
    return float(np.asarray(image).mean())


REWARDS = """
import numpy as np


def bright(images, prompts):
    return [np.asarray(image).mean() for image in images]


def dark(images, prompts):
    return [-np.asarray(image).mean() for image in images]


def same(images, prompts):
    return [1.0] * len(images)
"""


def test_a_constructed_case_has_its_share_and_interval() -> None:
    votes = pd.DataFrame({"winner": ["left", "left", "right", "right", "left"], "prompt_id": ["a", "b", "b", "c", "d"]})
    found = agreement(np.array([1.0, -2.0, -0.5, 0.0, np.nan]), votes, 1000, 0)
    assert found is not None
    assert found.share.mean == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert (found.compared, found.undecided) == (4, 1)
    assert found.share.low <= 0.5 and found.share.high == 1.0  # prompts b alone, and a alone
    assert agreement(np.array([np.nan]), votes[:1], 10, 0) is None


def test_a_reward_that_prefers_the_same_agrees_always_and_its_opposite_never(
    give_votes: GiveVotes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rewards_of_votes.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path)
    votes = give_votes(brightness, 30)
    names = [f"rewards_of_votes:{name}" for name in ("bright", "dark", "same")]
    found = reward_agreements(votes, names, RewardsSettings(), 100, 0)
    assert [found[name].share.mean for name in names] == [1.0, 0.0, 0.5]
    assert found[names[2]].undecided == found[names[2]].compared == len(votes.decided)


def test_the_votes_own_head_is_measured_on_prompts_that_it_has_not_seen(give_votes: GiveVotes) -> None:
    learned = reward_agreements(give_votes(brightness, 60), ["votes"], SETTINGS, 100, 0)["votes"]
    assert learned.share.mean > 0.8
    rng = np.random.default_rng(0)
    guessed = reward_agreements(give_votes(lambda _: rng.random(), 60, "2"), ["votes"], SETTINGS, 100, 0)["votes"]
    assert guessed.share.mean < 0.7  # in sample it would be close to 1


def test_too_few_votes_for_a_head_are_no_error(give_votes: GiveVotes) -> None:
    found = reward_agreements(give_votes(brightness, 4), ["proxy", "votes"], SETTINGS, 100, 0)
    assert found["votes"] is None and found["proxy"] is not None
    assert reward_agreements(give_votes(brightness, 5, "2"), ["votes"], SETTINGS, 100, 0)["votes"] is not None


def test_the_judge_prefers_the_image_in_which_more_is_right(give_votes: GiveVotes) -> None:
    found = judge_agreement(give_votes(brightness, 30), "scenes", 100, 0)
    assert found is not None and found.share.low > 0.5  # darkened colors are taken for others
    assert 0 < found.undecided < found.compared


def test_a_judge_may_count_in_small_whole_numbers(give_votes: GiveVotes, monkeypatch: pytest.MonkeyPatch) -> None:
    votes, judge = give_votes(brightness, 30), agreement_module.judge_readable
    wanted = judge_agreement(votes, "scenes", 100, 0)
    small = {"hallucinations": "uint8"}
    monkeypatch.setattr(agreement_module, "judge_readable", lambda *given: judge(*given).dropna().astype(small))
    assert judge_agreement(votes, "scenes", 100, 0) == wanted


def test_the_text_counts_votes_and_says_what_has_no_preference(give_votes: GiveVotes) -> None:
    votes = give_votes(brightness, 8)
    rows = {"reward proxy (selects)": agreement(np.zeros(len(votes.decided)), votes.decided, 100, 0), "none": None}
    text = agreement_text(votes, rows)
    assert text.startswith("8 votes on 8 prompts: 8 prefer an image, 0 neither\n")
    assert "reward proxy (selects)  0.500 [0.500, 0.500] of 8; 8 without a preference count as half" in text
    assert "none                    too few votes" in text
    assert agreement_text(give_votes(None, 3, "2"), {}) == "3 votes on 3 prompts: 0 prefer an image, 3 neither\n"
