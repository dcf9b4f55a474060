"""Preference selection."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from rsidiff_kedro.method.selection import SelectionError, rounding, select_samples
from rsidiff_kedro.method.settings import SelectionSettings

EARLY = pd.DataFrame(
    {
        "image_id": ["a0", "a1", "a2", "a3", "b0", "b1"],
        "prompt_id": ["a"] * 4 + ["b"] * 2,
        "proxy": [9.0, 2.0, 1.0, 8.0, 0.0, 5.0],
        "dropped": [True, False, False, True, False, True],
    }
)
"""Those that were dropped early would win."""


@pytest.mark.parametrize("enabled", [True, False])
def test_samples_that_were_dropped_early_are_ranked_last_and_never_kept(enabled) -> None:
    settings = SelectionSettings(enabled=enabled, rewards={"proxy": 1.0}, keep_per_prompt=3, max_gap=1.0)
    table = select_samples(EARLY, settings, seed=0)
    assert table["kept"].tolist() == [False, True, True, False, True, False]
    assert table["reason"].tolist() == ["early", "", "", "early", "", "early"]
    assert table["rank"].tolist() == [3, 1, 2, 4, 1, 2]
    assert table["score"].isna().tolist() == EARLY["dropped"].tolist()


@pytest.mark.parametrize("combine", ["standardize", "rank"])
def test_scores_and_margins_are_those_of_the_finished_samples_alone(combine) -> None:
    scores = EARLY.assign(other=[3.0, 1.0, 2.0, 5.0, 1.0, 0.0])
    settings = SelectionSettings(rewards={"proxy": 1.0, "other": 2.0}, combine=combine, keep_per_prompt=4)
    finished = scores[~scores["dropped"]]
    alone, all_samples = (select_samples(table, settings, seed=0) for table in (finished, scores))
    columns = ["score", "margin", "rank", "kept", "reason"]
    pd.testing.assert_frame_equal(all_samples.loc[finished.index, columns], alone[columns])


def test_a_reward_that_is_the_same_for_all_finished_samples_cannot_rank_them() -> None:
    constant = EARLY.assign(proxy=np.where(EARLY["dropped"], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 1.0))
    with pytest.raises(SelectionError, match=r"'proxy' is 1\.0 for all 3 images and cannot rank them"):
        select_samples(constant, by_proxy(), seed=0)


@pytest.mark.parametrize("reward", [np.nan, 1.0])
def test_rewards_of_samples_that_were_dropped_early_are_not_read(reward) -> None:
    columns = ["score", "rank", "kept", "reason"]
    unread = EARLY.assign(proxy=EARLY["proxy"].mask(EARLY["dropped"], reward))
    found, expected = (select_samples(table, by_proxy(keep_per_prompt=3), seed=0) for table in (unread, EARLY))
    pd.testing.assert_frame_equal(found[columns], expected[columns])


reward = st.floats(-3, 3, width=32)
tables = st.lists(st.tuples(st.sampled_from("pqr"), reward, reward), min_size=2, max_size=24).map(
    lambda rows: pd.DataFrame(
        {
            "image_id": [f"i{number:02}" for number in range(len(rows))],
            "prompt_id": [prompt for prompt, _, _ in rows],
            "sample_index": 0,
            "proxy": [first for _, first, _ in rows],
            "other": [second for _, _, second in rows],
        }
    )
)
ONE, SEVERAL = {"proxy": 1.0}, {"proxy": 1.0, "other": 2.0}


def settings_with(enabled, rewards):
    return st.builds(
        SelectionSettings,
        enabled=enabled,
        rewards=rewards,
        combine=st.sampled_from(["standardize", "rank"]),
        keep_per_prompt=st.integers(1, 4),
        max_gap=st.none() | st.floats(0, 2),
        min_margin=st.none() | st.floats(-1, 1),
        floors=st.sampled_from([{}, {"proxy": 0.0}, {"other": -1.0}]),
    )


settings = settings_with(st.booleans(), st.sampled_from([ONE, SEVERAL]))
enabled_settings = settings_with(st.just(True), st.sampled_from([ONE, SEVERAL]))
ensembles = settings_with(st.just(True), st.just(SEVERAL))


def by_proxy(**changed):
    """Return settings that select by the reward "proxy"."""
    return SelectionSettings(**({"rewards": ONE} | changed))


def select(scores, settings):
    """Return the selection; examples with nothing to select are another test's."""
    try:
        return select_samples(scores, settings, seed=3)
    except SelectionError:
        assume(False)


def scores(rewards, prompts="pppp", **columns):
    ids = [f"i{number}" for number in range(len(rewards))]
    table = {"image_id": ids, "prompt_id": list(prompts), "sample_index": range(len(rewards)), "proxy": rewards}
    return pd.DataFrame(table | columns)


@given(tables, settings)
def test_a_prompt_keeps_at_most_its_number(scores, settings):
    kept = select(scores, settings).query("kept")
    assert kept.groupby("prompt_id").size().max() <= settings.keep_per_prompt


@given(tables, enabled_settings)
def test_only_a_floor_drops_a_sample_that_ranks_above_a_kept_one(scores, settings):
    for _, samples in select(scores, settings).groupby("prompt_id"):
        worst_kept = samples.loc[samples["kept"], "rank"].max()
        above = samples[(samples["rank"] < worst_kept) & ~samples["kept"]]
        assert set(above["reason"]) <= {"floor"}


@given(tables, enabled_settings)
def test_every_kept_sample_passes_floors_margin_and_gap(scores, settings):
    selection = select(scores, settings)
    kept = selection.query("kept")
    best, most = selection.groupby("prompt_id")["score"].transform("max"), rounding(selection, settings)
    beyond = (best - selection["score"] - most)[selection["kept"]]
    assert settings.min_margin is None or (kept["margin"] + most[selection["kept"]] >= settings.min_margin - 1e-9).all()
    assert settings.max_gap is None or (beyond <= settings.max_gap + 1e-9).all()
    assert all((kept[name] >= floor).all() for name, floor in settings.floors.items())


@given(tables, settings)
def test_a_sample_has_a_reason_exactly_if_it_is_dropped(scores, settings):
    selection = select(scores, settings)
    reasons = {"rank", "margin", "gap", "floor"} if settings.enabled else {"not drawn"}
    assert set(selection.loc[~selection["kept"], "reason"]) <= reasons
    assert (selection.loc[selection["kept"], "reason"] == "").all()


@given(tables, settings, st.randoms())
def test_the_selection_does_not_depend_on_the_order_of_the_rows(scores, settings, random):
    shuffled = scores.sample(frac=1, random_state=random.randrange(2**31))
    selections = [select(table, settings).set_index("image_id").sort_index() for table in (scores, shuffled)]
    pd.testing.assert_frame_equal(*selections)


@given(tables, settings)
def test_ranks_count_from_one_down_the_scores(scores, settings):
    for _, samples in select(scores, settings).groupby("prompt_id"):
        ordered = samples.sort_values("rank")
        assert ordered["rank"].tolist() == list(range(1, len(samples) + 1))
        assert ordered["score"].is_monotonic_decreasing


def test_the_rows_stay_in_their_order_with_what_selection_adds():
    selection = select_samples(scores([0.1, 0.4, 0.3, 0.2]), by_proxy(keep_per_prompt=2, min_margin=0.0), seed=0)
    assert selection["image_id"].tolist() == ["i0", "i1", "i2", "i3"]
    assert selection["rank"].tolist() == [4, 1, 2, 3]
    assert selection["reason"].tolist() == ["margin", "", "", "margin"]
    np.testing.assert_allclose(selection["margin"], [-0.15, 0.15, 0.05, -0.05])


def test_ties_go_to_the_lower_image_id():
    selection = select_samples(scores([0.1, 0.1, 0.1, 0.5], "pppq"), by_proxy(keep_per_prompt=1), seed=0)
    assert selection.query("kept")["image_id"].tolist() == ["i0", "i3"]


def test_samples_that_score_about_as_well_as_the_best_of_their_prompt_are_kept():
    table = scores([5.0, 4.3, 4.1, 1.0, 0.9, -2.0], "pppqqq")
    selection = select_samples(table, by_proxy(max_gap=0.75, keep_per_prompt=4), seed=0)
    assert selection["reason"].tolist() == ["", "", "gap", "", "", "gap"]
    assert select_samples(table, by_proxy(keep_per_prompt=4), seed=0)["kept"].all()


GRADES = np.float32([[each / 10, (each - 1) / 10] for each in range(1, 11)])
"""Two grades per prompt, 0.1 apart: as float32 their difference is a little more or less."""


@pytest.mark.parametrize("unit", [1e-3, 1, 1e3])
def test_a_sample_exactly_at_a_limit_is_kept_whatever_float32_makes_of_its_score(unit):
    table = scores((GRADES * np.float32(unit)).ravel(), np.repeat(list("abcdefghij"), 2))
    assert select_samples(table, by_proxy(keep_per_prompt=2, max_gap=0.1 * unit), 0)["kept"].all()
    assert select_samples(table, by_proxy(keep_per_prompt=2, min_margin=-0.05 * unit), 0)["kept"].all()
    for limit in ({"max_gap": 0.0999 * unit}, {"min_margin": -0.0499 * unit}):
        chosen = select_samples(table, by_proxy(keep_per_prompt=2, **limit), 0)
        assert chosen["kept"].tolist() == [True, False] * 10


@pytest.mark.parametrize(("combine", "gap"), [("standardize", 2.0), ("rank", 1.0)])
def test_a_sample_exactly_at_a_limit_of_several_rewards_is_kept(combine, gap):
    """Of two samples that all rewards order alike, the worse is two standard deviations, and all ranks, below."""
    other = (GRADES + np.float32(0.2)).ravel() * np.float32(7)
    table = scores(GRADES.ravel(), np.repeat(list("abcdefghij"), 2), other=other)
    weights = {"proxy": 0.1, "other": 0.7}
    for at, kept in ((gap, 20), (gap - 1e-3, 10)):
        several = SelectionSettings(rewards=weights, combine=combine, keep_per_prompt=2, max_gap=at)
        assert select_samples(table, several, 0)["kept"].sum() == kept


def test_a_gap_is_as_sharp_as_float32_where_rewards_of_a_prompt_are_close():
    """Three rewards of about 1000, 0.001 and 0.002 below: their rounding is a tenth of their spread, and counts."""
    close = np.float32([1000, 1000 - 0.0625, 1000 - 0.125])
    table = scores(close, "ppp", other=[3.0, 2.0, 1.0])
    several = SelectionSettings(rewards={"proxy": 1, "other": 1}, keep_per_prompt=3, max_gap=2.44)
    np.testing.assert_allclose(rounding(table, several), (1e-3 / (0.125 / 6**0.5 * 1.0) + 3e-6 / (2 / 3) ** 0.5) / 2)
    assert select_samples(table, several, 0)["kept"].all()  # the last one's gap is 2.449


def test_a_gap_in_another_unit_than_the_reward_is_told_of(caplog: pytest.LogCaptureFixture):
    grades = np.tile([0.25, 0.5, 1.0, 0.75], 50)
    table = scores(list(grades), [f"p{number // 4}" for number in range(200)])
    with caplog.at_level("WARNING", logger="rsidiff_kedro"):
        select_samples(table, by_proxy(max_gap=0.5, keep_per_prompt=4), seed=0)
        select_samples(table, by_proxy(max_gap=0.75, keep_per_prompt=1), seed=0)
        select_samples(table[:60], by_proxy(max_gap=0.75, keep_per_prompt=4), seed=0)
        assert not caplog.records
        select_samples(table, by_proxy(max_gap=0.75, keep_per_prompt=4), seed=0)
    (record,) = caplog.records
    assert "`preference_selection.max_gap` (0.75) drops only 0 of 200 samples" in record.message
    assert "are 0.75 apart" in record.message


def test_several_rewards_are_standardized_within_the_prompt_before_they_are_weighed():
    table = scores([0.0, 1.0, 0.0, 2.0], "ppqq", other=[100.0, 0.0, 0.0, 300.0])
    selection = select_samples(table, SelectionSettings(rewards={"proxy": 1, "other": 3}), seed=0)
    np.testing.assert_allclose(selection["score"], [0.5, -0.5, -1, 1])


def test_several_rewards_may_be_combined_by_their_ranks_within_the_prompt():
    table = scores([0.0, 1.0, 2.0, 9.0], "pppq", other=[5.0, 5.0, -1e6, 0.0])
    selection = select_samples(table, SelectionSettings(rewards={"proxy": 1, "other": 3}, combine="rank"), seed=0)
    np.testing.assert_allclose(selection["score"], [0.5625, 0.6875, 0.25, 0.5])  # one of 3, ties half, alone 0.5


def test_a_reward_that_differs_by_the_rounding_of_float32_alone_does_not_count():
    table = scores([0.1, 0.2, 0.3, 0.4], "pppp").assign(safe=np.float32([1, 1 - 6e-8, 1, 1 - 1.2e-7])[[1, 0, 3, 2]])
    chosen = select_samples(table, SelectionSettings(rewards={"proxy": 1.0, "safe": 5.0}), seed=0)
    assert chosen["rank"].tolist() == [4, 3, 2, 1]


def test_one_reward_is_its_own_score_however_several_would_be_combined():
    chosen = [select_samples(scores([0.1, 0.4], "pp"), by_proxy(combine=way), 0) for way in ("rank", "standardize")]
    pd.testing.assert_frame_equal(*chosen)


@given(tables, st.floats(0.1, 10), st.floats(-5, 5))
def test_ranks_do_not_change_with_a_rewards_scale_or_under_any_rising_function(scores, factor, offset):
    ensemble = SelectionSettings(rewards={"proxy": 1.0, "other": 2.0}, combine="rank")
    assume(scores["proxy"].nunique() > 1 and scores["other"].nunique() > 1)
    levels = scores["other"].rank(method="dense")
    stretched = scores.assign(other=np.exp(levels) * factor + offset)
    first, second = (select_samples(table, ensemble, 0) for table in (scores, stretched))
    np.testing.assert_array_equal(first["score"], second["score"])


@given(tables, ensembles)
def test_an_ensembles_score_is_between_its_rewards_bounds(scores, settings):
    selection = select(scores, settings)
    if settings.combine == "rank":
        assert selection["score"].between(0, 1).all()
    means = selection.groupby("prompt_id")["score"].mean()
    np.testing.assert_allclose(means, 0.5 if settings.combine == "rank" else 0.0, atol=1e-5)


@given(tables, enabled_settings)
def test_a_sample_that_is_best_by_every_reward_is_first_of_its_prompt(scores, settings):
    for _, samples in select(scores, settings).groupby("prompt_id"):
        names = list(settings.rewards)
        best = samples[(samples[names] == samples[names].max()).all(axis=1)]
        assert best.empty or best["rank"].min() == 1


def test_a_floor_applies_to_the_reward_and_not_to_its_rank():
    table = scores([0.1, 0.2, 0.3, 0.4], other=[4.0, 3.0, 2.0, 1.0])
    ensemble = SelectionSettings(
        rewards={"proxy": 1, "other": 1}, combine="rank", floors={"other": 2.5}, keep_per_prompt=1
    )
    assert select_samples(table, ensemble, seed=0)["reason"].tolist() == ["", "rank", "floor", "floor"]


def test_a_version_of_hpsv2_can_be_set_on_the_command_line_whichever_spelling_the_files_have():
    """Kedro takes the dots of `--params` for levels, so the registered name has none; files may have the official."""
    merged = {"proxy": 0, "hpsv2.1": 3, "hpsv2_1": 1}
    settings = SelectionSettings(rewards=merged, floors={"hpsv2.1": 0.2})
    assert settings.rewards == {"hpsv2_1": 1.0}
    assert settings.floors == {"hpsv2_1": 0.2}


def test_without_selection_samples_are_chosen_by_seed_whatever_their_rewards():
    off = by_proxy(enabled=False, keep_per_prompt=2)
    first = select_samples(scores([0.1, 0.2, 0.3, 0.4]), off, seed=5)
    other = select_samples(scores([np.nan, 0.0, -1.0, 0.0]), off, seed=5)
    assert first["kept"].tolist() == other["kept"].tolist() and first["kept"].sum() == 2
    drawn = {tuple(select_samples(scores([0.1] * 4), off, seed)["kept"]) for seed in range(20)}
    assert len(drawn) > 2


@pytest.mark.parametrize(
    ("table", "changed", "message"),
    [
        (scores([0.1, np.nan, 0.2, 0.3]), {}, "'proxy' is NaN or infinite for 1 of 4 images, first i1"),
        (scores([0.5] * 4), {}, "'proxy' is 0.5 for all 4 images"),
        (scores([0.1, 0.2, 0.3, 0.4]), {"min_margin": 9}, r"\{'margin': 4\}\); lower `min_margin` \(9.0\) in"),
        (
            scores([0.1, 0.2, 0.3, 0.4]),
            {"floors": {"proxy": 2}},
            r"\{'floor': 4\}\); lower `floors` \(\{'proxy': 2.0\}\) in",
        ),
        (
            scores([0.1, 0.2, 0.3, 0.4]).assign(other=[1, 1, 1, 0]),
            {"max_gap": 0.05, "floors": {"other": 0.5}},
            r"\(\{'gap': 3, 'floor': 1\}\); raise `max_gap` \(0.05\) and lower `floors`",
        ),
        (scores([0.1, 0.2, 0.3, 0.4]), {"rewards": {"hps": 1}}, r"lack the columns \['hps'\]; they have"),
        (pd.concat([scores([0.1, 0.2, 0.3, 0.4])] * 2), {}, "image i0 appears twice"),
    ],
)
def test_scores_that_cannot_be_selected_from_are_an_error(table, changed, message):
    with pytest.raises(SelectionError, match=message):
        select_samples(table, by_proxy(**changed), seed=0)


BLIND = scores([0.1, 0.1, 0.2, 0.2, 0.7, 0.7, 0.7], "ppqqrrr").assign(other=[1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("noise", [0.0, 3e-8])
def test_a_reward_that_looks_at_the_prompts_alone_cannot_rank_their_images(noise, caplog) -> None:
    """Also where float32 rounds it differently; rewards of samples that are dropped do not count."""
    ends = "ab"
    many = pd.concat([BLIND.assign(**{name: BLIND[name] + end for name in ("image_id", "prompt_id")}) for end in ends])
    blind = many.assign(proxy=many["proxy"] + noise * (many["other"] % 2))
    unread = blind.assign(image_id=blind["image_id"] + "x", proxy=blind["other"] * 1.0, dropped=True)
    table = pd.concat([blind.assign(dropped=False), unread])
    said = r"'proxy' is the same for all images of each of 6 prompts \(14 images\), .* and cannot rank them"
    with pytest.raises(SelectionError, match=said):
        select_samples(table, by_proxy(), seed=0)
    with pytest.raises(SelectionError, match=said):
        select_samples(table.assign(third=table["proxy"] * 2), by_proxy(rewards={"proxy": 1, "third": 1}), seed=0)
    assert caplog.text == ""
    selection = select_samples(table, by_proxy(rewards={"proxy": 1, "other": 1}), seed=0)
    assert re.search(said + ": the other rewards select alone", caplog.text)
    assert selection[selection["rank"] == 1]["other"].tolist() == [2, 4, 7] * 2
    caplog.clear()
    select_samples(table.assign(proxy=np.where(table["image_id"] == "i0a", 0.3, table["proxy"])), by_proxy(), seed=0)
    select_samples(table, by_proxy(enabled=False), seed=0)
    select_samples(table, by_proxy(floors={"proxy": 0.15}), seed=0)  # chooses between prompts
    assert "cannot rank" not in caplog.text


@pytest.mark.parametrize("count", [2, 3, 6, 7])
def test_few_ties_may_be_chance(count, caplog) -> None:
    """As of right and wrong images, or of one prompt with two samples."""
    table = pd.concat([BLIND[:count], BLIND[6:].assign(image_id="i7", prompt_id="s", proxy=0.9)])
    assert select_samples(table, by_proxy(), seed=0)["kept"].any()
    assert "cannot rank" not in caplog.text


@pytest.mark.parametrize("rewards", [{}, {"proxy": 0}, {"proxy": -1}, {"proxy": np.inf}])
def test_weights_of_rewards_that_no_mean_can_have_are_refused(rewards):
    with pytest.raises(ValidationError):
        SelectionSettings(rewards=rewards)


def test_a_weight_of_zero_leaves_a_reward_out():
    assert SelectionSettings(rewards={"proxy": 0, "other": 2.0}).rewards == {"other": 2.0}
    with pytest.raises(ValidationError, match="at least one above 0"):
        SelectionSettings(rewards={"proxy": 0})
