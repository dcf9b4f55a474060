"""The pool of training prompts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rsidiff_kedro.core.prompt_table import PROMPT_COLUMNS, REJECT_COLUMNS, PromptCountError, prompt_table
from rsidiff_kedro.method.curation import choose_diverse, select_pool
from rsidiff_kedro.method.settings import CurationSettings

SAMPLER = {"num_inference_steps": 2, "guidance_scale": 1.0, "micro_batch_size": 4}


def numbered(count):
    """Return so many prompts."""
    return prompt_table([f"prompt number {number}" for number in range(count)], "test")


def curation(enabled=True, probe=(), **changed):
    """Return settings of a pool from a file."""
    source = {"kind": "file", "path": "prompts.txt"}
    probed = {"reward": "proxy", "sampler": SAMPLER, "drop_lowest": 0.25, "drop_highest": 0.1} | dict(probe)
    changed = {"pool_size": 10, "prompts_per_round": 5, "source": source} | changed
    return CurationSettings(enabled=enabled, probe=probed, **changed)


def probed(candidates):
    """Return scores that grow with the prompt's row, two samples per prompt."""
    scores = pd.DataFrame({"prompt_id": candidates["prompt_id"], "proxy": np.arange(len(candidates), dtype=float)})
    return pd.concat([scores, scores.assign(proxy=scores["proxy"] + 0.5)])


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


def test_without_curation_the_pool_is_random_and_needs_no_probe():
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


def test_a_diverse_choice_takes_signs_that_look_alike_for_the_same():
    assert sorted(choose_diverse(["\u2764", "\u2764\ufe0f", "\u2600"], 2)) == [0, 2]
    assert sorted(choose_diverse(["red_fox", "red fox _", "fox"], 2)) == [0, 2]


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
