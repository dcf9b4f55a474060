"""Splits, the pool of training prompts and each round's draw."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rsidiff_kedro.method.curation_settings import CurationSettings

from rsidiff_kedro.core.prompt_table import PROMPT_COLUMNS, REJECT_COLUMNS, PromptCountError, prompt_table
from rsidiff_kedro.method.curation import choose_diverse, draw_round_prompts, select_pool, split_prompts
from rsidiff_kedro.prompts.sources import GrammarSource

SAMPLER = {"num_inference_steps": 2, "guidance_scale": 1.0, "micro_batch_size": 4}


def numbered(count, categories=("",)):
    """So many prompts, with these categories in turn."""
    kinds = [categories[number % len(categories)] for number in range(count)]
    return prompt_table([f"prompt number {number}" for number in range(count)], "test", kinds)


def curation(enabled=True, probe=(), **changed):
    """Settings of a pool from a file."""
    source = {"kind": "file", "path": "prompts.txt"}
    probed = {"sampler": SAMPLER, "drop_lowest": 0.25, "drop_highest": 0.1} | dict(probe)
    changed = {"pool_size": 10, "prompts_per_round": 5, "source": source} | changed
    return CurationSettings(enabled=enabled, probe=probed, **changed)


def probed(candidates):
    """Scores that grow with the prompt's row, two samples a prompt."""
    scores = pd.DataFrame({"prompt_id": candidates["prompt_id"], "proxy": np.arange(len(candidates), dtype=float)})
    return pd.concat([scores, scores.assign(proxy=scores["proxy"] + 0.5)])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 20), st.integers(1, 5), st.integers(0, 99))
def test_splits_are_disjoint_and_of_the_sizes_asked_for(validation, test, surplus, n_categories, seed):
    prompts = numbered(validation + test + 1 + surplus, "abcde"[:n_categories])
    parts = split_prompts(prompts, validation, test, seed)
    assert [len(part) for part in parts] == [surplus + 1, validation, test]
    assert sorted(pd.concat(parts)["prompt_id"]) == sorted(prompts["prompt_id"])
    assert [set(part["split"]) for part in parts] == [{"pool"}, {"validation"}, {"test"}]


@given(st.randoms(), st.integers(0, 99))
def test_splits_do_not_depend_on_the_order_of_the_prompts(random, seed):
    prompts = numbered(20, "ab")
    shuffled = prompts.sample(frac=1, random_state=random.randrange(2**31))
    for one, other in zip(split_prompts(prompts, 4, 8, seed), split_prompts(shuffled, 4, 8, seed), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_grammar_prompts_are_split_by_bucket_and_keep_the_share_of_two_objects():
    collected = GrammarSource().collect(0)
    candidates, validation, test = split_prompts(collected, 60, 200, seed=0)
    assert sorted(candidates["text"]) == sorted(collected.loc[collected["split"] == "pool", "text"])
    assert validation["category"].value_counts().to_dict() == {"one_object": 36, "two_objects": 24}
    assert test["category"].value_counts().to_dict() == {"one_object": 120, "two_objects": 80}


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


def test_prompts_that_were_all_dropped_point_to_the_table_of_reasons():
    with pytest.raises(PromptCountError, match="no prompt is left after the filters; the table rejected_by_filter"):
        split_prompts(numbered(0), 4, 8, seed=0)


def test_the_probe_drops_the_lowest_and_the_highest_mean_rewards():
    candidates = numbered(20)
    pool, rejected = select_pool(candidates, probed(candidates), curation(), seed=0)
    by_rule = rejected.groupby("rule")["text"].agg(set).to_dict()
    assert by_rule["hopeless"] == {f"prompt number {number}" for number in range(5)}
    assert by_rule["solved"] == {"prompt number 18", "prompt number 19"}
    assert len(by_rule["not_diverse"]) == 3 and len(pool) == 10
    assert tuple(pool.columns) == PROMPT_COLUMNS and tuple(rejected.columns) == REJECT_COLUMNS
    assert "of the lowest 25%" in rejected.set_index("text").at["prompt number 0", "detail"]


@settings(max_examples=25)
@given(st.booleans(), st.randoms(), st.integers(0, 99))
def test_a_pool_does_not_depend_on_the_order_of_candidates_or_scores(enabled, random, seed):
    candidates = numbered(20)
    scores = probed(candidates)
    state = random.randrange(2**31)
    pool = select_pool(candidates, scores, curation(enabled), seed)
    other = select_pool(
        candidates.sample(frac=1, random_state=state),
        scores.sample(frac=1, random_state=state),
        curation(enabled),
        seed,
    )
    for one, two in zip(pool, other, strict=True):
        pd.testing.assert_frame_equal(one, two)
    assert sorted(pd.concat(pool)["prompt_id"]) == sorted(candidates["prompt_id"])


def test_without_curation_the_pool_is_drawn_at_random_and_needs_no_probe():
    candidates = numbered(20)
    pools = [select_pool(candidates, None, curation(enabled=False), seed) for seed in (0, 1)]
    assert {rule for _, rejected in pools for rule in rejected["rule"]} == {"not_drawn"}
    assert set(pools[0][0]["text"]) != set(pools[1][0]["text"])


def test_a_pool_larger_than_what_the_probe_leaves_is_an_error():
    candidates = numbered(14)
    with pytest.raises(PromptCountError, match="10 of 14 training candidates are left for a pool of 11; raise"):
        select_pool(candidates, probed(candidates), curation(pool_size=11), seed=0)


def test_a_probe_that_missed_a_prompt_or_the_reward_is_an_error():
    candidates = numbered(14)
    with pytest.raises(ValueError, match="1 of 14 prompts have no finite 'proxy'"):
        select_pool(candidates, probed(candidates.iloc[1:]), curation(), seed=0)
    with pytest.raises(ValueError, match="lack the reward 'proxy'"):
        select_pool(candidates, probed(candidates).rename(columns={"proxy": "hps"}), curation(), seed=0)


def test_a_diverse_choice_takes_texts_that_share_no_words_first():
    texts = ["a red fox", "a red fox runs", "two castles", "two castles burn", "green moss"]
    assert {position // 2 for position in choose_diverse(texts, 3)} == {0, 1, 2}


def test_a_diverse_choice_reads_signs_that_are_no_words():
    assert sorted(choose_diverse(["?", "!", "? ?"], 2)) == [0, 1]


def test_a_diverse_choice_may_cover_embeddings_in_place_of_words():
    angles = {"a fox": 0.0, "two castles": 0.1, "a fox runs": 3.0, "green moss": 0.2}

    def embed(texts):
        return np.array([[np.cos(angles[text]), np.sin(angles[text])] for text in texts])

    assert choose_diverse(list(angles), 2, embed).tolist() == [0, 2]


def test_a_pool_by_embeddings_needs_them_and_names_what_it_dropped():
    candidates = numbered(20)
    settings = curation(diversity="text_encoder")
    with pytest.raises(ValueError, match="needs embed"):
        select_pool(candidates, probed(candidates), settings, seed=0)
    lengths = np.random.default_rng(0)
    _, rejected = select_pool(
        candidates, probed(candidates), settings, 0, lambda texts: lengths.random((len(texts), 3))
    )
    assert "other prompts cover its embedding" in set(rejected["detail"])


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(0, 99))
def test_no_round_draws_a_prompt_twice(pool_size, per_round, round_number, seed):
    per_round = min(pool_size, per_round)
    drawn = draw_round_prompts(numbered(pool_size), per_round, seed, round_number)
    assert len(drawn) == per_round and drawn["prompt_id"].is_unique and set(drawn["round"]) == {round_number}


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_rounds_use_up_the_pool_before_they_repeat_a_prompt(pool_size, per_round, seed):
    per_round = min(pool_size, per_round)
    rounds = [draw_round_prompts(numbered(pool_size), per_round, seed, number) for number in range(1, 9)]
    counts = pd.concat(rounds)["prompt_id"].value_counts()
    assert counts.reindex(numbered(pool_size)["prompt_id"], fill_value=0).agg(np.ptp) <= 1 + (pool_size < 2 * per_round)
    before = pd.concat(rounds[: pool_size // per_round])
    assert before["prompt_id"].is_unique


@given(st.randoms(), st.integers(1, 6))
def test_a_draw_does_not_depend_on_the_order_of_the_pool(random, round_number):
    pool = numbered(12)
    shuffled = pool.sample(frac=1, random_state=random.randrange(2**31))
    one, other = (draw_round_prompts(table, 5, 0, round_number) for table in (pool, shuffled))
    pd.testing.assert_frame_equal(one, other)


def test_a_round_that_needs_more_prompts_than_the_pool_has_is_an_error():
    with pytest.raises(PromptCountError, match="a round needs 5 prompts but the pool has 4"):
        draw_round_prompts(numbered(4), 5, 0, 1)


def test_rounds_that_draw_are_counted_from_one():
    with pytest.raises(ValueError, match="counted from 1, not 0"):
        draw_round_prompts(numbered(4), 2, 0, 0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prompts_per_round": 11}, r"prompts_per_round \(11\) is more than pool_size \(10\)"),
        ({"probe": {"drop_lowest": 0.5, "drop_highest": 0.5}}, "leave no prompt"),
        ({"source": {"kind": "grammar", "evaluation_count": 259}}, r"evaluation_count \(259\) is less .* \(260\)"),
        (
            {"source": {"kind": "grammar"}, "evaluation_source": {"kind": "grammar", "evaluation_count": 259}},
            r"evaluation_source\.evaluation_count \(259\) is less",
        ),
        (
            {"source": {"kind": "template", "templates": ["a {n} fox"], "words": {"n": ["red", "gray"]}}},
            r"source holds 2 different prompts, but pool_size \(10\), validation_size .* need 270",
        ),
        ({"source": {"kind": "grammar", "count": 14}, "pool_size": 11}, r"count \(14\) leaves 10 prompts"),
    ],
)
def test_settings_that_cannot_be_met_are_refused_before_anything_is_spent(wrong, said):
    with pytest.raises(ValidationError, match=said):
        curation(**wrong)
