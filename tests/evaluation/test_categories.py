"""Results by category."""

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.core.pairs import UnpairedError
from rsidiff_kedro.evaluation.categories import OtherPromptsError, category_scores, has_categories, measures
from rsidiff_kedro.evaluation.settings import ENDS


def scores_of(number: int) -> pd.DataFrame:
    """Return scores of two samples of ten prompts; a later round has more of them right."""
    rows = [(f"p{prompt}", sample, (prompt + sample) % 10) for prompt in range(10) for sample in range(2)]
    table = pd.DataFrame(rows, columns=["prompt_id", "sample_index", "level"])
    correct, proxy = table["level"] < 2 + 3 * number, table["level"] / 10 + 0.2 * number
    return table.assign(correct=correct, proxy=proxy).drop(columns="level")


@pytest.fixture
def scores() -> list[pd.DataFrame]:
    return [scores_of(number) for number in range(3)]


def prompts_of(scores: list[pd.DataFrame], *categories: str) -> pd.DataFrame:
    """Return the prompts of these scores, with these categories in turn."""
    ids = sorted(set(scores[0]["prompt_id"]))
    return pd.DataFrame({"prompt_id": ids, "category": [categories[n % len(categories)] for n in range(len(ids))]})


def table_of(scores: list[pd.DataFrame], *categories: str, reward: str = "proxy") -> pd.DataFrame:
    return category_scores(prompts_of(scores, *categories), scores, [reward], 200, 0)


def test_there_is_a_row_per_round_and_category(scores: list[pd.DataFrame]) -> None:
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


@pytest.mark.parametrize("name", [f"proxy{end}" for end in ENDS])
def test_without_a_judge_there_are_rewards_alone(scores: list[pd.DataFrame], name: str) -> None:
    without = [each.drop(columns="correct").rename(columns={"proxy": name}) for each in scores]
    table = table_of(without, "photo", "anime", reward=name)
    assert not [column for column in table.columns if "accuracy" in column]
    assert measures(table) == [f"reward/{name}"]


def test_a_category_that_the_judge_cannot_read_is_not_measured(scores: list[pd.DataFrame]) -> None:
    prompts = prompts_of(scores, "photo", "anime")
    unread = prompts.query("category == 'photo'")["prompt_id"]
    partly = [
        each.assign(correct=each["correct"].astype(object).mask(each["prompt_id"].isin(unread))) for each in scores
    ]
    table = category_scores(prompts, partly, ["proxy"], 50, 0)
    columns = [f"prompt_accuracy{end}" for end in ENDS]
    assert np.isnan(table.loc[table["category"] == "photo", columns]).all(axis=None)
    assert np.isfinite(table.loc[table["category"] == "anime", columns]).all(axis=None)


def test_prompts_of_one_category_have_none(scores: list[pd.DataFrame]) -> None:
    assert not has_categories(table_of(scores, ""))
    assert has_categories(table_of(scores, "photo", "anime"))


def test_a_category_of_one_prompt_has_means_without_intervals(scores: list[pd.DataFrame]) -> None:
    prompts = prompts_of(scores, "photo").assign(category=["anime"] + ["photo"] * 9)
    row = category_scores(prompts, scores, ["proxy"], 50, 0).set_index(["round", "category"]).loc[(2, "anime")]
    assert (row["n_prompts"], row["n_images"]) == (1, 2)
    assert (row["reward/proxy"], row["reward/proxy_gain"]) == pytest.approx((0.45, 0.4))
    assert np.isnan([row[f"reward/proxy{end}"] for end in ENDS if end.endswith(("_low", "_high"))]).all()


def test_rounds_of_other_prompts_are_refused(scores: list[pd.DataFrame]) -> None:
    other = scores[2].assign(prompt_id=scores[2]["prompt_id"] + "x")
    with pytest.raises(OtherPromptsError, match=r"round 2 was tested on other prompts .* run all stages"):
        table_of([*scores[:2], other], "photo")


def test_rounds_of_another_number_of_samples_are_refused(scores: list[pd.DataFrame]) -> None:
    with pytest.raises(UnpairedError, match=r"of 20 and 10 images, .* 10 of these images"):
        table_of([*scores[:2], scores[2].query("sample_index == 0")], "photo")
