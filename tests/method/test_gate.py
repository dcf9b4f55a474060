"""The gate: paired validation rewards of candidate and parent."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.pairs import UnpairedError
from rsidiff_kedro.method.gate import compare_with_parent
from rsidiff_kedro.method.settings import GateSettings
from rsidiff_kedro.pipelines.gate.nodes import pass_gate

CANDIDATE, PARENT = Adapter({}, {"round": 1}), Adapter({}, {"round": 0})
CLOSED, OPEN = GateSettings(), GateSettings(enabled=False)


def table(values: list[float], **others: list[float]) -> pd.DataFrame:
    rows = range(len(values))
    return pd.DataFrame(
        {"prompt_id": [f"p{row // 2}" for row in rows], "sample_index": [row % 2 for row in rows], "proxy": values}
    ).assign(**others)


def decide(new: list[float], old: list[float], settings: GateSettings = CLOSED):
    return pass_gate(CANDIDATE, PARENT, table(new), table(old), {"proxy": 1.0}, settings, 50, 0)


def test_a_better_candidate_goes_on_with_its_scores() -> None:
    adapter, scores, gate = decide([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 3.0])
    assert adapter is CANDIDATE
    assert scores["proxy"].max() == 4.0
    assert gate["enabled"] == gate["accepted"] == 1.0
    assert gate["reward_difference"] == pytest.approx(0.25)


def test_a_reward_that_every_image_of_the_parent_has_alike_counts_in_its_own_spread() -> None:
    """As a 0/1 reward that all of them pass: one image that fails is no loss of millions of standard deviations."""
    old = np.random.default_rng(0).normal(size=120).tolist()
    parent, candidate = table(old, safe=[1.0] * 120), table([each + 0.5 for each in old], safe=[0.0] + [1.0] * 119)
    found = compare_with_parent(candidate, parent, {"proxy": 1.0, "safe": 0.1}, 50, 0)
    lost = 1 / 120 / np.std([0.0] + [1.0] * 239)
    assert found["reward_difference"] == pytest.approx((0.5 / np.std(old) - 0.1 * lost) / 1.1)
    same = compare_with_parent(parent, parent, {"proxy": 1.0, "safe": 0.1}, 50, 0)
    assert same["reward_difference"] == 0.0


def test_a_reward_that_differs_by_the_rounding_of_float32_alone_is_constant() -> None:
    rng = np.random.default_rng(0)
    old, safe = rng.normal(size=120), (1 - rng.uniform(0, 2e-7, (2, 120))).astype(np.float32)
    parent, candidate = table(old.tolist(), safe=safe[0]), table((old + 0.5).tolist(), safe=safe[1])
    found = compare_with_parent(candidate, parent, {"proxy": 1.0, "safe": 1.0}, 50, 0)
    assert found["reward_difference"] == pytest.approx(0.25 / np.std(old), abs=1e-6)


def test_an_open_gate_does_not_compare_scores_of_other_rewards_or_votes() -> None:
    fitted, other = ({"rewards": {"proxy": {"fitted_on": {"sha256": each}}}} for each in "ab")
    replaced = {"rewards": {"proxy": {"file": "proxy.safetensors", "sha256": "a"}}}
    for parent, attrs in (
        (table([5.0]).rename(columns={"proxy": "votes"}), {}),
        (table([5.0]), other),
        (table([5.0]), replaced),
        (table([5.0]), {}),
    ):
        candidate = table([1.0])
        candidate.attrs, parent.attrs = fitted, attrs
        adapter, _, gate = pass_gate(CANDIDATE, PARENT, candidate, parent, {"proxy": 1.0}, OPEN, 50, 0)
        assert adapter is CANDIDATE
        assert (gate["enabled"], gate["accepted"], gate["reward_difference"]) == (0.0, 1.0, 0.0)
    candidate.attrs = parent.attrs = fitted
    assert pass_gate(CANDIDATE, PARENT, candidate, parent, {"proxy": 1.0}, OPEN, 50, 0)[2]["reward_difference"] == -4.0


def test_a_worse_candidate_is_left_and_the_parent_goes_on_with_its_own_scores() -> None:
    adapter, scores, gate = decide([1.0, 2.0], [1.0, 3.0])
    assert adapter is PARENT
    assert scores["proxy"].max() == 3.0
    assert gate["accepted"] == 0.0


def test_a_candidate_that_changed_nothing_goes_on() -> None:
    assert decide([1.0, 2.0], [1.0, 2.0])[0] is CANDIDATE


def test_the_tolerance_is_what_a_candidate_may_lose() -> None:
    assert decide([1.0, 2.0], [1.0, 2.2], GateSettings(tolerance=0.2))[0] is CANDIDATE
    assert decide([1.0, 2.0], [1.0, 2.2], GateSettings(tolerance=0.05))[0] is PARENT


def test_without_the_gate_every_candidate_goes_on_and_the_difference_is_still_reported() -> None:
    adapter, _, gate = decide([1.0, 2.0], [2.0, 3.0], OPEN)
    assert adapter is CANDIDATE
    assert gate["reward_difference"] == pytest.approx(-1.0)


def test_images_are_paired_whatever_the_order_of_the_rows() -> None:
    new, old = table([1.0, 2.0, 3.0, 4.0]), table([0.0, 1.0, 2.0, 3.0]).iloc[::-1]
    gate = pass_gate(CANDIDATE, PARENT, new, old, {"proxy": 1.0}, CLOSED, 50, 0)[2]
    assert gate["reward_difference_low"] == gate["reward_difference_high"] == 1.0


@given(
    st.lists(st.tuples(*[st.integers(-9, 9)] * 4), min_size=2, max_size=12),
    st.floats(0.01, 100),
    st.floats(-100, 100),
)
def test_an_ensembles_verdict_does_not_change_with_the_unit_of_a_reward(rows, factor, offset) -> None:
    new, old, others, before = (list(map(float, column)) for column in zip(*rows, strict=True))
    assume(np.std(old) > 0 and np.std(before) > 0)
    differences = []
    for scale, shift in ((1.0, 0.0), (factor, offset)):
        candidate = table(new, other=[value * scale + shift for value in others])
        parent = table(old, other=[value * scale + shift for value in before])
        compared = compare_with_parent(candidate, parent, {"proxy": 1.0, "other": 2.0}, 10, 0)
        differences.append(compared["reward_difference"])
    assert differences[0] == pytest.approx(differences[1], abs=1e-6)


def test_several_rewards_count_in_their_parents_standard_deviations() -> None:
    old = table([0.0, 1.0, 0.0, 1.0], other=[0.0, 1000.0, 0.0, 1000.0])
    new = table([1.0, 2.0, 1.0, 2.0], other=[-900.0, 100.0, -900.0, 100.0])
    gate = pass_gate(CANDIDATE, PARENT, new, old, {"proxy": 1.0, "other": 1.0}, CLOSED, 50, 0)[2]
    assert gate["accepted"] == 1.0


def test_of_a_single_prompt_the_difference_is_reported_without_an_interval_and_still_decides() -> None:
    for new, chosen in (([1.0, 2.0], CANDIDATE), ([0.0, 1.0], PARENT)):
        adapter, _, gate = decide(new, [0.5, 1.5])
        assert adapter is chosen
        assert np.isnan([gate["reward_difference_low"], gate["reward_difference_high"]]).all()


def test_a_parent_of_other_prompts_or_samples_is_refused() -> None:
    candidate = table([1.0, 2.0, 3.0, 4.0])
    for parent in (candidate.assign(prompt_id=candidate["prompt_id"] + "x"), candidate.query("sample_index == 0")):
        with pytest.raises(UnpairedError, match="have no partner"):
            pass_gate(CANDIDATE, PARENT, candidate, parent, {"proxy": 1.0}, CLOSED, 50, 0)
