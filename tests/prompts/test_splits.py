"""Splitting prompts into training, validation and test sets, and choosing the prompts of each round."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsidiff_kedro.core.prompt_table import TEXT_COLUMNS, PromptCountError, PromptTableError, prompt_table
from rsidiff_kedro.prompts.splits import choose_round_prompts, split_prompts
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource


def numbered(count, categories=("",)):
    """Return so many prompts, with these categories in turn."""
    kinds = [categories[number % len(categories)] for number in range(count)]
    return prompt_table([f"prompt number {number}" for number in range(count)], "test", kinds)


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(0, 20),
    st.integers(1, 5),
    st.integers(0, 99),
    st.integers(0, 5),
)
def test_splits_are_disjoint_and_of_the_sizes_asked_for(validation, test, surplus, n_categories, seed, only_train):
    """Prompts that the source marks "pool" train, however many others may do either."""
    least = 0 if only_train else 1
    prompts = numbered(validation + test + least + surplus + only_train, "abcde"[:n_categories])
    prompts.loc[prompts.index[:only_train], "split"] = "pool"
    parts = split_prompts(prompts, validation, test, seed)
    assert [len(part) for part in parts] == [surplus + least + only_train, validation, test]
    assert sorted(pd.concat(parts)["prompt_id"]) == sorted(prompts["prompt_id"])
    assert [set(part["split"]) for part in parts] == [{"pool"}, {"validation"}, {"test"}]
    assert set(prompts["prompt_id"][:only_train]) <= set(parts[0]["prompt_id"])


@given(st.randoms(), st.integers(0, 99), st.sampled_from([("", 0), ("pool", 8), ("evaluation", 12)]))
def test_splits_do_not_depend_on_the_order_of_the_prompts(random, seed, marked):
    prompts = numbered(20, "ab")
    prompts.loc[prompts.index[: marked[1]], "split"] = marked[0]
    shuffled = prompts.sample(frac=1, random_state=random.randrange(2**31))
    for one, other in zip(split_prompts(prompts, 4, 8, seed), split_prompts(shuffled, 4, 8, seed), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_grammar_prompts_are_split_by_bucket_and_keep_the_share_of_two_objects():
    collected = GrammarSource().collect(0)
    candidates, validation, test = split_prompts(collected, 60, 200, seed=0)
    assert sorted(candidates["text"]) == sorted(collected.loc[collected["split"] == "pool", "text"])
    assert validation["category"].value_counts().to_dict() == {"one_object": 36, "two_objects": 24}
    assert test["category"].value_counts().to_dict() == {"one_object": 120, "two_objects": 80}


def test_what_is_for_validation_in_one_seed_is_not_for_test_in_another():
    splits = [split_prompts(GrammarSource().collect(seed), 60, 200, seed)[1:] for seed in range(3)]
    validated, tested = (set().union(*(part["prompt_id"] for part in parts)) for parts in zip(*splits))
    assert not validated & tested and len(tested) > 250


@pytest.mark.parametrize("count", [11, 12])
def test_too_few_prompts_to_split_are_counted(count):
    with pytest.raises(
        PromptCountError, match=rf"{count} prompts are left .* validation_size \(4\) .* need 12 .* raise"
    ):
        split_prompts(numbered(count), 4, 8, seed=0)


def test_too_few_evaluation_prompts_name_the_parameter_to_raise():
    prompts = GrammarSource(count=10, evaluation_count=10).collect(0)
    with pytest.raises(PromptCountError, match=r"20 prompts .* 10 of them can evaluate.*`source\.evaluation_count`"):
        split_prompts(prompts, 4, 8, seed=0)
    with pytest.raises(PromptCountError, match=r"10 prompts .* 0 of them can evaluate.*`source\.evaluation_count`"):
        split_prompts(prompts[prompts["split"] == "pool"], 2, 2, seed=0)  # the filters dropped all others
    either = prompts.assign(split=prompts["split"].where(prompts["split"] == "pool", ""))
    with pytest.raises(PromptCountError, match=r"20 prompts .* 10 of them can evaluate.* does not mark 'pool'"):
        split_prompts(either, 4, 8, seed=0)


@pytest.mark.parametrize("column", TEXT_COLUMNS)
@pytest.mark.parametrize("value", [None, float("nan"), 7])
def test_a_prompt_without_a_text_where_one_belongs_is_refused_and_not_left_out(column, value):
    prompts = numbered(14).astype({column: object})
    prompts.at[3, column] = value
    with pytest.raises(PromptTableError, match=rf"holds .* in row 4 of '{column}', not a text"):
        split_prompts(prompts, 4, 8, seed=0)


def test_prompts_that_were_all_dropped_point_to_the_table_of_reasons():
    with pytest.raises(PromptCountError, match="no prompt is left after the filters; the table rejected_by_filter"):
        split_prompts(numbered(0), 4, 8, seed=0)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
def test_no_round_has_a_prompt_twice(pool_size, per_round, round_number, seed):
    per_round = min(pool_size, per_round)
    chosen = choose_round_prompts(numbered(pool_size), per_round, seed, round_number)
    assert len(chosen) == per_round and chosen["prompt_id"].is_unique and set(chosen["round"]) == {round_number}


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_rounds_use_up_the_pool_before_they_repeat_a_prompt(pool_size, per_round, seed):
    per_round = min(pool_size, per_round)
    rounds = [choose_round_prompts(numbered(pool_size), per_round, seed, number) for number in range(1, 9)]
    counts = pd.concat(rounds)["prompt_id"].value_counts()
    assert counts.reindex(numbered(pool_size)["prompt_id"], fill_value=0).agg(np.ptp) <= 1 + (pool_size < 2 * per_round)
    before = pd.concat(rounds[: pool_size // per_round])
    assert before["prompt_id"].is_unique


@given(st.randoms(), st.integers(1, 6))
def test_a_choice_does_not_depend_on_the_order_of_the_pool(random, round_number):
    pool = numbered(12)
    shuffled = pool.sample(frac=1, random_state=random.randrange(2**31))
    one, other = (choose_round_prompts(table, 5, 0, round_number) for table in (pool, shuffled))
    pd.testing.assert_frame_equal(one, other)


def test_a_round_that_needs_more_prompts_than_the_pool_has_is_an_error():
    with pytest.raises(PromptCountError, match="a round needs 5 prompts but the pool has 4"):
        choose_round_prompts(numbered(4), 5, 0, 1)


def test_rounds_with_prompts_are_counted_from_one():
    with pytest.raises(ValueError, match="counted from 1, not 0"):
        choose_round_prompts(numbered(4), 2, 0, 0)
