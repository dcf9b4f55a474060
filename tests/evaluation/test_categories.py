"""Results by category."""

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.evaluation.categories import (
    ENDS,
    OtherPromptsError,
    category_html,
    category_scores,
    category_text,
    has_categories,
)


def prompts_of(scores: list[pd.DataFrame], *categories: str) -> pd.DataFrame:
    """The prompts of these scores, with these categories in turn."""
    ids = sorted(set(scores[0]["prompt_id"]))
    return pd.DataFrame({"prompt_id": ids, "category": [categories[n % len(categories)] for n in range(len(ids))]})


def table_of(scores: list[pd.DataFrame], *categories: str) -> pd.DataFrame:
    return category_scores(prompts_of(scores, *categories), scores, ["proxy"], 200, 0)


def test_there_is_a_row_a_round_and_category(scores: list[pd.DataFrame]) -> None:
    table = table_of(scores, "photo", "anime", "anime")
    assert table[["round", "category", "n_prompts", "n_images"]].values.tolist() == [
        [number, *row] for number in range(3) for row in (["anime", 6, 12], ["photo", 4, 8])
    ]
    measures = {f"{name}{end}" for name in ("prompt_accuracy", "reward/proxy") for end in ENDS}
    assert set(table.columns[4:]) == measures


def test_a_mean_is_that_of_the_categorys_images_alone(scores: list[pd.DataFrame]) -> None:
    table = table_of(scores, "photo", "anime").set_index(["round", "category"])
    ids = prompts_of(scores, "photo", "anime").query("category == 'anime'")["prompt_id"]
    part = scores[2][scores[2]["prompt_id"].isin(ids)]
    row = table.loc[(2, "anime")]
    assert row["prompt_accuracy"] == pytest.approx(part["correct"].mean())
    assert row["reward/proxy"] == pytest.approx(part["proxy"].mean())
    assert row["prompt_accuracy_low"] <= row["prompt_accuracy"] <= row["prompt_accuracy_high"]


def test_gains_are_paired_whatever_the_order_of_the_rows(scores: list[pd.DataFrame]) -> None:
    shuffled = [scores[0], scores[1].sample(frac=1, random_state=1), scores[2]]
    table = table_of(shuffled, "photo", "anime")
    pd.testing.assert_frame_equal(table, table_of(scores, "photo", "anime"))
    assert table.loc[table["round"] == 0, "reward/proxy_gain"].tolist() == [0.0, 0.0]
    last = table[table["round"] == 2]
    for end in ("", "_low", "_high"):  # every image gained the same, so the interval has no width
        assert last[f"reward/proxy_gain{end}"].to_numpy() == pytest.approx(0.4)


def test_without_a_judge_there_are_rewards_alone(scores: list[pd.DataFrame]) -> None:
    table = table_of([each.drop(columns="correct") for each in scores], "photo", "anime")
    assert not [column for column in table.columns if "accuracy" in column]
    assert "reward proxy" in category_text(table)[0]


def test_a_category_that_the_judge_cannot_read_is_not_measured(scores: list[pd.DataFrame]) -> None:
    prompts = prompts_of(scores, "photo", "anime")
    unread = prompts.query("category == 'photo'")["prompt_id"]
    partly = [
        each.assign(correct=each["correct"].astype(object).mask(each["prompt_id"].isin(unread))) for each in scores
    ]
    table = category_scores(prompts, partly, ["proxy"], 50, 0)
    assert np.isnan(table.loc[table["category"] == "photo", "prompt_accuracy"]).all()
    assert "not measured" in category_html(table)


def test_the_text_has_a_line_a_category(scores: list[pd.DataFrame]) -> None:
    lines = category_text(table_of(scores, "photo", "anime"))
    assert lines[0] == "By category, judged accuracy of the base and of round 2:"
    assert [line.split()[0] for line in lines[1:]] == ["anime", "photo"]
    assert "5 prompts" in lines[1] and "+0.600 [" in lines[1]


def test_prompts_without_categories_have_no_table(scores: list[pd.DataFrame]) -> None:
    table = table_of(scores, "")
    assert not has_categories(table)
    assert category_text(table) == []


def test_the_html_shows_each_measure_and_marks_what_changed_for_sure(scores: list[pd.DataFrame]) -> None:
    html = category_html(table_of(scores, "photo", "anime"))
    assert html.count("<tr>") == 2 + 2
    assert '<td class="right"><span>+0.4</span>' in html
    worse = [scores[0], scores[1], scores[2].assign(proxy=scores[0]["proxy"] - 1)]
    assert '<td class="wrong"><span>-1</span>' in category_html(table_of(worse, "photo", "anime"))


def test_the_html_escapes_categories(scores: list[pd.DataFrame]) -> None:
    html = category_html(table_of(scores, "<script>alert('x')</script>", "a & b"))
    assert "<script" not in html
    assert "&lt;script&gt;" in html and "a &amp; b" in html


def test_rounds_of_other_prompts_are_refused(scores: list[pd.DataFrame]) -> None:
    other = scores[2].assign(prompt_id=scores[2]["prompt_id"] + "x")
    with pytest.raises(OtherPromptsError, match=r"round 2 was tested on other prompts .* run all stages"):
        table_of([*scores[:2], other], "photo")
