"""Filters of prompts."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rsidiff_kedro.core.prompt_table import PROMPT_COLUMNS, REJECT_COLUMNS, normalize_text, prompt_id, prompt_table
from rsidiff_kedro.prompts.filters import RULES, filter_prompts
from rsidiff_kedro.prompts.near_duplicates import find_near_duplicates
from rsidiff_kedro.prompts.settings import FilterSettings
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource


def lengths(texts, most=12):
    """Count a token per word, and two more for the start and the end; at most 12 are read."""
    return [(len(text.split()) + 2, most) for text in texts]


def filtered(*texts, split="", **settings):
    """Return what is kept and what is dropped of these texts, with at most 12 tokens."""
    return filter_prompts(prompt_table(texts, "test", split=split), FilterSettings(**settings), lengths)


def rule_of(text, **settings):
    """Return the rule that drops this text, or "" if it is kept."""
    _, rejected = filtered(text, **settings)
    return rejected["rule"].iloc[0] if len(rejected) else ""


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a red fox", ""),
        ("", "empty"),
        (" \t ", "empty"),
        ("a red\x00fox", "unreadable"),
        ("a red \ufffd fox", "unreadable"),
        ("a red \ud800 fox", "unreadable"),
        ("a \ue000 fox", "unreadable"),
        ("a red\tfox", ""),
        ("ein Fuchs, 狐 🦊", ""),
        ("นกอินทรี สีแดง", ""),
        ("a 3 x 3 grid", ""),
        ("42 (1 + 1)", "not_text"),
        ("(^_^) :-) !!", "not_text"),
        ("\u2764\ufe0f \u2600\ufe0f \u2620\ufe0f", "not_text"),
        ("1\ufe0f\u20e3 2\ufe0f\u20e3 3\u20e3", "not_text"),
        ("\u0301\u0301 \u0301\u0301", "not_text"),
        ("1\u0301 2\u0301", "not_text"),
        ("\u3164\u3164 \u115f", "empty"),
        ("\u200b \ufe0f", "empty"),
        ("l\u20e3e\u20e3 renard\u20e3", ""),
        ("a\u200b\u200b\u200b\u200b\u200b fox", ""),
        ("क\u094d\u200dष क\u094d\u200dषि", ""),
        ("a fox from https://example.org/fox.png", "markup"),
        ("a fox <lora:fluffy:0.8> in snow", "markup"),
        ("a <b>red</b> fox", "markup"),
        ("a red fox --ar 16:9", "markup"),
        ("a red fox -- in snow", ""),
        ("a red-brown fox - 2 years old", ""),
        ("a fox with 3 < 4 tails", ""),
        ("fox", "too_short"),
        ("one two three four five six seven eight nine ten", ""),
        ("one two three four five six seven eight nine ten eleven", "too_long"),
    ],
)
def test_the_first_broken_rule_drops_a_prompt(text, rule):
    assert rule_of(text) == rule


def test_settings_tighten_but_never_widen_the_text_encoders_limit():
    assert rule_of("a red fox runs", max_tokens=5) == "too_long"
    assert rule_of("word " * 11, max_tokens=100) == "too_long"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("a Bloody fox", "blocked_word"),
        ("a bloodyish fox", ""),
        ("a knife  fight", "blocked_word"),
        ("a fight, a knife", ""),
        ("a blo\u200body fox", "blocked_word"),
        ("a knife \u200b fi\u00adght", "blocked_word"),
        ("red\u200bbloody\u200bfox hunt", "blocked_word"),
        ("a blo\u200bodyish fox", ""),
        ("a bloody\ufe0f fox", "blocked_word"),
        ("a blo\u034fody fox", "blocked_word"),
        ("a bloo\u180bdy\U000e0100 fox", "blocked_word"),
        ("a bloody\u3164fox", "blocked_word"),
        ("a blo\u3164ody fox", "blocked_word"),
        ("a bloody\u20e3 fox", "blocked_word"),
        ("a bloody\ufe0fish fox", ""),
        ("fox, bloody_fur, snow", "blocked_word"),
        ("fox, __knife_fight__", "blocked_word"),
        ("fox, bloodyish_fur", ""),
        ("a bloodý fox", ""),
        ("a bloody\u0301 fox", ""),
    ],
)
def test_blocked_words_are_whole_words_in_any_case(text, rule):
    assert rule_of(text, blocked_words=["bloody", "Knife fight"]) == rule
    assert rule_of(text, blocked_words=["bl\u200doody", "Knife\u00ad fight"]) == rule


def test_a_blocked_tag_is_found_as_a_phrase():
    assert rule_of("a Knife fight at night", blocked_words=["knife_fight"]) == "blocked_word"
    assert rule_of("a knife, a fight at night", blocked_words=["knife_fight"]) == ""


@pytest.mark.parametrize("word", ["\u2620", "\u2620\ufe0f"])
def test_a_blocked_sign_is_found_in_each_of_its_styles(word):
    flags = ["a flag with \u2620 on it", "a flag with \u2620\ufe0f on it", "a flag \U0001f3f4\u200d\u2620\ufe0f flies"]
    assert [rule_of(flag, blocked_words=[word]) for flag in flags] == ["blocked_word"] * 3


def test_marks_that_no_reader_sees_tell_no_prompts_apart():
    """Also where they are within a word, as in Mongolian."""
    texts = [
        "a red heart \u2764",
        "a red heart \u2764\ufe0f",
        "\u182e\u1823\u1829\u180b\u182d",
        "\u182e\u1823\u1829\u182d",
    ]
    assert find_near_duplicates(texts, 1.0, []).tolist() == [-1, 0, -1, 2]
    assert rule_of("\u182e\u1823\u1829\u180b\u182d \u182e", blocked_words=["\u182e\u1823\u1829"]) == ""
    assert find_near_duplicates(["a red_fox", "a red fox"], 1.0, []).tolist() == [-1, 0]


def test_vowels_and_tones_that_are_marks_belong_to_words():
    """As in Hindi (a boy and a girl, a stallion and a mare; tomorrow and art) and Thai (rice and news)."""
    pairs = [
        ("एक लड़का खेत में", "एक लड़की खेत में"),
        ("घास पर काला घोड़ा", "घास पर काली घोड़ी"),
        ("รูปของข้าวบนโต๊ะ", "รูปของข่าวบนโต๊ะ"),
    ]
    texts = [normalize_text(text) for pair in pairs for text in pair]
    assert find_near_duplicates(texts, 1.0, [[False] * len(texts)]).tolist() == [-1] * len(texts)
    assert rule_of("दीवार पर सुंदर कला", blocked_words=["कल"]) == ""
    assert rule_of("कल का सुंदर शहर", blocked_words=["कल"]) == "blocked_word"


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("裸体", "一个裸体女人站在海边", True),
        ("裸体", "美しい裸体の女性、油絵", True),
        ("裸体", "a裸体b", True),
        ("裸体", "人体写生", False),
        ("ハダカ", "\uff8a\uff80\uff9e\uff76の人", True),
        ("ヌード", "湯気の立つヌードルの丼", False),
        ("ヌード", "カップヌード", False),
        ("ヌード", "美しいヌードの絵", True),
        ("เปลือยกาย", "ผู้หญิงเปลือยกายบนชายหาด", True),
        ("ข้าว", "รูปของข้าวบนโต๊ะ", True),
        ("ข้าว", "รูปของข่าวบนโต๊ะ", False),
        ("ข", "ข้าวขาว", True),
        ("ข", "ข้าวมันไก่", False),
        ("ก", "กำไล", False),
        ("ເປືອຍ", "ແມ່ຍິງເປືອຍຢູ່ຫາດຊາຍ", True),
        ("អាក្រាត", "ស្ត្រីអាក្រាតនៅឆ្នេរ", True),
        ("nude", "一个nude女人", True),
        ("nude", "ที่nude", True),
        ("nude", "一个nudes女人", False),
        ("nude", "一个nude\u0301女人", False),
        ("누드", "누드화 한 점", False),
        ("नग्न", "नग्नता का चित्र", False),
    ],
)
def test_blocked_words_are_found_within_sentences_without_spaces(word, text, found):
    """But not where a mark, such as a tone, follows, which makes their last letter another one."""
    assert rule_of(text, min_words=1, blocked_words=[word]) == "blocked_word" * found


def test_a_blocked_word_that_no_reader_sees_is_refused():
    with pytest.raises(ValidationError, match="characters that no reader sees"):
        FilterSettings(blocked_words=["bloody", "\u200b"])


def test_words_are_parted_by_blanks_in_every_language():
    assert rule_of("日本の庭の赤い橋") == "too_short"
    assert rule_of("日本の庭の赤い橋", min_words=1) == ""


def test_a_prompt_that_holds_an_evaluation_prompt_and_much_else_is_no_near_duplicate_of_it():
    table = pd.concat(
        [
            prompt_table(["a red fox in the snow"], "test", split="evaluation"),
            prompt_table(["a red fox in the snow beside a frozen lake at dawn"], "test", split="pool"),
        ]
    )
    assert len(filter_prompts(table, FilterSettings(), partial(lengths, most=20))[0]) == 2


def test_a_prompt_of_10000_characters_is_too_long_and_its_text_is_cut():
    kept, rejected = filtered("fox " * 2500 + ".", "a red fox")
    assert kept["text"].tolist() == ["a red fox"]
    assert rejected["rule"].tolist() == ["too_long"] and len(rejected["text"].iloc[0]) == 200
    assert "10001 characters; at most 12 tokens are read" in rejected["detail"].iloc[0]


def test_the_same_text_in_other_case_width_and_spacing_is_a_duplicate():
    kept, rejected = filtered("A red fox", "\uff41 red  FOX")
    assert kept["text"].tolist() == ["A red fox"]
    assert rejected["rule"].tolist() == ["duplicate"] and prompt_id("a red fox") in rejected["detail"].iloc[0]


CAPTIONS = (
    "a red circle left of a blue square",
    "a red circle left of a blue circle",
    "a blue square right of a red circle",
)


def test_captions_are_the_same_exactly_if_their_scenes_are():
    table, settings = prompt_table(CAPTIONS, "test"), FilterSettings(near_duplicate_threshold=0.5)
    kept, rejected = filter_prompts(table, settings, lengths, GrammarSource().canonical)
    assert len(kept) == 2
    assert rejected[["text", "rule"]].values.tolist() == [["a blue square right of a red circle", "duplicate"]]


def test_without_a_canonical_form_captions_are_texts_like_others():
    kept, rejected = filtered(*CAPTIONS[:2], near_duplicate_threshold=0.5)
    assert len(kept) == 1
    assert rejected["rule"].tolist() == ["near_duplicate"]


def test_texts_with_a_canonical_form_are_compared_by_it_with_each_other_and_with_the_rest_as_texts():
    def canonical(text):
        return "fox" if "fox" in text else "hare" if "hare" in text else None

    texts = ["a red fox in snow", "the fox", "a red hare in snow", "a red hate in snow"]
    table, settings = prompt_table(texts, "test"), FilterSettings(near_duplicate_threshold=0.5)
    kept, rejected = filter_prompts(table, settings, lengths, canonical)
    assert kept["text"].tolist() == ["a red fox in snow", "a red hare in snow"]
    assert rejected[["text", "rule"]].values.tolist() == [
        ["the fox", "duplicate"],
        ["a red hate in snow", "near_duplicate"],
    ]


@pytest.mark.parametrize("other", ["a castle on the hills in heavy snow", "a castle, on the hill in heavy snow!"])
def test_texts_that_differ_by_a_letter_or_punctuation_are_near_duplicates(other):
    _, rejected = filtered("a castle on the hill in heavy snow", other, near_duplicate_threshold=0.8)
    assert rejected["rule"].tolist() == ["near_duplicate"]


def test_the_order_of_words_tells_prompts_apart():
    kept, _ = filtered("a horse chasing a cat", "a cat chasing a horse")
    assert len(kept) == 2


def test_rules_of_the_text_can_be_turned_off():
    assert rule_of("42 (1 + 1)", min_letter_share=0) == ""
    assert rule_of("a red fox --ar 16:9", allow_markup=True) == ""


def test_evaluation_prompts_may_be_short_strange_and_near_to_each_other():
    kept, rejected = filtered(
        "fox", "42 --ar 1", "a fox on the hill in snow", "a fox on the hills in snow", "FOX", split="evaluation"
    )
    assert kept["text"].tolist() == ["fox", "42 --ar 1", "a fox on the hill in snow", "a fox on the hills in snow"]
    assert rejected["rule"].tolist() == ["duplicate"]


def test_every_rule_has_its_place_in_the_list():
    texts = ["", "\ufffd x", "x " * 20, "1 2 3", "a --b", "fox", "a bloody fox", "a fox on a hill", "A fox on a hill"]
    near, taken = "a fox on a hill!", ["a castle on a hill in heavy snow"]
    training = prompt_table([*texts, near, *taken], "test")
    prompts = pd.concat([training, prompt_table(taken, "test", split="evaluation")])
    _, rejected = filter_prompts(prompts, FilterSettings(blocked_words=["bloody"]), lengths)
    assert tuple(rejected["rule"]) == RULES


def test_training_prompts_yield_to_evaluation_prompts_that_come_later():
    pool = prompt_table(["a castle on a hill in heavy snow", "a red fox"], "test", split="pool")
    evaluation = prompt_table(["a castle on a hill in heavy snow!", "a RED fox"], "test", split="evaluation")
    prompts = pd.concat([pool, evaluation], ignore_index=True)
    kept, rejected = filter_prompts(prompts, FilterSettings(), lengths)
    assert set(kept["split"]) == {"evaluation"}
    assert rejected["rule"].tolist() == ["near_duplicate_of_evaluation"] * 2


def test_prompts_that_may_evaluate_yield_to_those_that_only_train():
    either = prompt_table(["a RED fox", "a castle on a hill in heavy snow!", "an owl"], "test")
    pool = prompt_table(["a castle on a hill in heavy snow", "a red fox"], "test", split="pool")
    kept, rejected = filter_prompts(pd.concat([either, pool]), FilterSettings(), lengths)
    assert kept["split"].tolist() == ["", "pool", "pool"]
    assert rejected["rule"].tolist() == ["duplicate", "near_duplicate"]


def test_kept_prompts_know_their_tokens_and_tables_their_columns():
    kept, rejected = filtered("a red fox", "")
    assert tuple(kept.columns) == PROMPT_COLUMNS and kept["n_tokens"].tolist() == [5]
    assert tuple(rejected.columns) == REJECT_COLUMNS


@pytest.mark.parametrize("texts", [(), ("", " ", "x")])
def test_nothing_to_keep_gives_an_empty_table_with_its_columns(texts):
    kept, rejected = filtered(*texts)
    assert kept.empty and tuple(kept.columns) == PROMPT_COLUMNS and len(rejected) == len(texts)


@given(st.lists(st.text(max_size=30)))
def test_every_prompt_is_kept_or_dropped_by_a_rule(texts):
    kept, rejected = filtered(*texts)
    assert len(kept) + len(rejected) == len(texts)
    assert (rejected["rule"] != "").all() and (rejected["detail"] != "").all()
    assert kept["prompt_id"].is_unique


@given(st.lists(st.text("ab ", min_size=3).filter(str.strip), min_size=1), st.floats(0.1, 1))
def test_no_two_kept_texts_are_near_duplicates(texts, threshold):
    def grams(text):
        return {padded[i : i + 3] for word in text.split() for padded in [f" {word} "] for i in range(len(padded) - 2)}

    twins = find_near_duplicates(texts, threshold, [])
    kept = [text.split() for text, twin in zip(texts, twins, strict=True) if twin == -1]
    for position, words in enumerate(kept):
        for other in (other for other in kept[:position] if other == words or sorted(other) != sorted(words)):
            one, two = grams(" ".join(words)), grams(" ".join(other))
            assert len(one & two) / len(one | two) < threshold + 1e-9
    assert all(twins[twin] == -1 and twin < row for row, twin in enumerate(twins) if twin != -1)


def test_near_duplicates_are_found_across_chunks(monkeypatch):
    monkeypatch.setattr("rsidiff_kedro.prompts.near_duplicates.CHUNK", 2)
    texts = ["a red fox", "a blue bird", "a green tree", "a red fox!", "a blue birds"]
    np.testing.assert_array_equal(find_near_duplicates(texts, 0.7, []), [-1, -1, -1, 0, 1])


@pytest.mark.parametrize("wrong", [{"min_words": 0}, {"near_duplicate_threshold": 0}, {"blocked_words": [" "]}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        FilterSettings(**wrong)
