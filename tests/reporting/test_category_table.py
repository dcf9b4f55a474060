"""Showing results by category."""

import pandas as pd

from rsidiff_kedro.evaluation.categories import category_scores
from rsidiff_kedro.reporting.category_table import category_html, category_text


def prompts_of(scores: list[pd.DataFrame], *categories: str) -> pd.DataFrame:
    """Return the prompts of these scores, with these categories in turn."""
    ids = sorted(set(scores[0]["prompt_id"]))
    return pd.DataFrame({"prompt_id": ids, "category": [categories[n % len(categories)] for n in range(len(ids))]})


def table_of(scores: list[pd.DataFrame], *categories: str) -> pd.DataFrame:
    return category_scores(prompts_of(scores, *categories), scores, ["proxy"], 200, 0)


def test_the_text_has_a_line_per_category(scores: list[pd.DataFrame]) -> None:
    lines = category_text(table_of(scores, "photo", "anime"))
    assert lines[0] == "By category, judged accuracy of the base and of round 2:"
    assert [line.split()[0] for line in lines[1:]] == ["anime", "photo"]
    assert "5 prompts" in lines[1] and "+0.600 [" in lines[1]


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


def test_without_a_judge_the_reward_is_shown(scores: list[pd.DataFrame]) -> None:
    table = table_of([each.drop(columns="correct") for each in scores], "photo", "anime")
    assert "reward proxy" in category_text(table)[0]
    assert "judged accuracy" not in category_html(table)


def test_a_category_that_the_judge_cannot_read_is_shown_as_not_measured(scores: list[pd.DataFrame]) -> None:
    prompts = prompts_of(scores, "photo", "anime")
    unread = prompts.query("category == 'photo'")["prompt_id"]
    partly = [
        each.assign(correct=each["correct"].astype(object).mask(each["prompt_id"].isin(unread))) for each in scores
    ]
    html = category_html(category_scores(prompts, partly, ["proxy"], 50, 0))
    assert html.count("not measured") == 3  # the base, the last round and the change


def test_prompts_without_categories_have_no_table(scores: list[pd.DataFrame]) -> None:
    table = table_of(scores, "")
    assert category_text(table) == []
    assert category_html(table) == ""


def test_a_change_of_one_prompt_is_neither_for_better_nor_for_worse(scores: list[pd.DataFrame]) -> None:
    prompts = prompts_of(scores, "photo").assign(category=["anime"] + ["photo"] * 9)
    html = category_html(category_scores(prompts, scores, ["proxy"], 50, 0))
    rows = [part for part in html.split("<tr>") if part.startswith('<th scope="row">')]
    assert "class=" not in rows[0] and 'class="right"' in rows[1]
