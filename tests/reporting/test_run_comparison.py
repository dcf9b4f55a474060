"""Two runs are compared on the test prompts that both have."""

import json

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.reporting.run_comparison import (
    NothingSharedError,
    Side,
    changed_parameters,
    comparison_text,
    shared_images,
)


def side(scores: pd.DataFrame, name: str = "run", **parameters: object) -> Side:
    scores = scores.copy()
    scores.attrs["rewards"] = {"proxy": {}}
    return Side(name, parameters, scores, ["proxy"])


def row(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.strip().startswith(start))


def test_parameters_that_differ_are_shown_with_both_values(scores) -> None:
    text = comparison_text(side(scores[0], steps=100, seed=0), side(scores[1], steps=200, seed=0, rank=4), 20, 0)
    assert row(text, "steps").split() == ["steps", "100", "200"]
    assert row(text, "rank").split() == ["rank", "-", "4"]
    assert not any(line.strip().startswith("seed") for line in text.splitlines())
    assert changed_parameters({"a": 1}, {"a": 1}) == {}


def test_long_values_are_shown_where_they_differ(scores) -> None:
    ours, theirs = ([{"path": "x" * 60, "digest": digest}, "y" * 60] for digest in ("abc", "abd"))
    shown = row(comparison_text(side(scores[0], sources=ours), side(scores[1], sources=theirs), 20, 0), "sources")
    longer = row(comparison_text(side(scores[0], base="m" * 70), side(scores[1], base="m" * 70 + "-v2"), 20, 0), "base")
    assert longer.count("-v2") == 1
    assert "'ab" not in shown[:15] and "abc" in shown and "abd" in shown and len(shown) < 150


def test_a_difference_is_paired_and_has_an_interval(scores) -> None:
    text = comparison_text(side(scores[0], seed=0), side(scores[2], seed=0), 200, 0)
    assert "10 test prompts, 20 images, paired by prompt and noise\n" in text
    accuracy = row(text, "prompt accuracy")
    assert accuracy.split()[2:5] == ["0.200", "0.800", "+0.600"] and accuracy.endswith("better")
    assert row(text, "reward proxy (selects)").split()[5] == "+0.400"  # of every image, so the interval is a point
    assert "[+0.400, +0.400]" in row(text, "reward proxy")


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("seed", "prompt"),
        ("model.family", "prompt"),
        ("model.base", "prompt"),
        ("model.resolution", "prompt"),
        ("model.device", "prompt and noise"),
        ("sampler.steps", "prompt and noise"),
    ],
)
def test_noise_is_shared_only_where_nothing_that_tells_it_differs(scores, name: str, by: str) -> None:
    text = comparison_text(side(scores[0], **{name: 512}), side(scores[1], **{name: 1024}), 20, 0)
    assert f"10 test prompts, 20 images, paired by {by}\n" in text


def test_only_images_that_both_have_count_and_the_others_are_counted(scores) -> None:
    fewer = scores[1][scores[1]["prompt_id"] != "p0"]
    text = comparison_text(side(scores[0], seed=0), side(fewer, seed=1), 20, 0)
    assert "9 test prompts, 18 images, paired by prompt; 2 images of A and 0 of B have no partner" in text
    ours, theirs = shared_images(scores[0], fewer)
    assert len(ours) == len(theirs) == 18


def test_runs_that_share_no_prompt_are_refused(scores) -> None:
    other = scores[1].assign(prompt_id="q" + scores[1]["prompt_id"])
    with pytest.raises(NothingSharedError, match="share no test prompt"):
        comparison_text(side(scores[0]), side(other), 20, 0)


def test_diversity_of_a_judge_is_compared_as_a_ratio(scores) -> None:
    colors = ["red", "blue"] * 10
    both = [
        each.assign(
            correct=True, left_open=[json.dumps({"color": one, "size": other}) for one, other in zip(colors, sizes)]
        )
        for each, sizes in zip(scores, (["small", "large"] * 10, ["small"] * 20))
    ]
    cells = row(comparison_text(side(both[0]), side(both[1]), 20, 0), "diversity").split()
    assert cells[1:5] == ["1.000", "0.500", "x", "0.50"] and cells[-1] == "worse"


OWN = "mine:beauty"


def scored(table: pd.DataFrame, record: object = None, code: str = "", **parameters: object) -> Side:
    """Return a side whose tables also have scores of one's own reward."""
    each = side(table.assign(**{OWN: np.arange(20.0)}))
    each.scores.attrs["rewards"] = {"proxy": {"device": "cpu", "micro_batch_size": len(code)}, OWN: record or {}}
    return Side("run", parameters, each.scores, ["proxy"], {OWN: code, "proxy": "p"} if code else {})


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ({"record": {"fitted_on": {"sha256": "a"}}}, {"record": {"fitted_on": {"sha256": "b"}}}, "fitted_on"),
        ({"record": {"file": "a.pt", "sha256": "a"}}, {"record": {"file": "a.pt", "sha256": "b"}}, "sha256"),
        ({"code": "a"}, {"code": "bc"}, "code"),
        ({f"rewards.custom.{OWN}.scale": 1}, {f"rewards.custom.{OWN}.scale": 2}, "options"),
        ({"record": {"scale": 1}, "code": "a"}, {"record": {"scale": 2}, "code": "bc"}, "scale, code"),
    ],
)
def test_scores_of_two_functions_are_not_subtracted(scores, old: dict, new: dict, what: str) -> None:
    text = comparison_text(scored(scores[0], **old), scored(scores[1], **new), 20, 0)
    assert f"Left out, because the two runs measured by different functions: {OWN} ({what})\n" in text
    assert f"reward {OWN}" not in text and "reward proxy" in text and "prompt accuracy" in text
    same = comparison_text(scored(scores[0], **old), scored(scores[1], **old), 20, 0)
    assert f"reward {OWN}" in same and "Left out" not in same


def test_code_that_an_older_run_did_not_record_leaves_nothing_out(scores) -> None:
    assert "Left out" not in comparison_text(scored(scores[0], code="a"), scored(scores[1]), 20, 0)


@pytest.mark.parametrize(
    ("names", "code", "what"),
    [
        (("scenes", "scenes"), ("a", "b"), "the judge (code)"),
        (("scenes", "mine:Judge"), ("a", "a"), "the judge (scenes and mine:Judge)"),
    ],
)
def test_verdicts_of_two_judges_are_not_compared(scores, names: tuple, code: tuple, what: str) -> None:
    open_ones = ['{"color": "red"}', '{"color": "blue"}'] * 10
    sides = [
        Side("run", {"evaluation.judge": name}, side(table.assign(left_open=open_ones)).scores, {}, {"scenes": digest})
        for table, name, digest in zip(scores, names, code)
    ]
    text = comparison_text(*sides, 20, 0)
    assert f"Left out, because the two runs measured by different functions: {what}\n" in text
    assert "reward proxy" in text
    assert not any(row in text for row in ("accuracy", "hallucinations", "diversity"))
    assert "prompt accuracy" in comparison_text(sides[0], sides[0], 20, 0)


def test_a_measure_that_no_shared_image_has_is_left_out(scores) -> None:
    text = comparison_text(side(scores[0].assign(correct=np.nan)), side(scores[1]), 20, 0)
    assert "prompt accuracy" not in text and "reward proxy" in text


def test_runs_with_different_rewards_show_the_ones_that_both_have(scores) -> None:
    other = side(scores[1].drop(columns="proxy").assign(mine=np.arange(20.0)))
    text = comparison_text(side(scores[0]), other, 20, 0)
    assert "reward" not in text and "prompt accuracy" in text
