"""Templates with slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rsidiff_kedro.prompts.sources.template import TemplateSource

WORDS = {"color": ["red", "blue"], "animal": ["fox", "hare", "owl"], "place": ["snow"]}
TEMPLATES = ["a {color} {animal}", "a {animal} in {place}", "an empty field"]


def test_without_a_count_every_combination_comes_once_in_order():
    table = TemplateSource(templates=TEMPLATES, words=WORDS).collect(0)
    assert table["text"].tolist()[:3] == ["a red fox", "a blue fox", "a red hare"]
    assert table["text"].tolist()[-2:] == ["a owl in snow", "an empty field"]
    assert len(table) == 6 + 3 + 1 and table["prompt_id"].is_unique
    assert table["category"].value_counts().to_dict() == dict(zip(TEMPLATES, [6, 3, 1]))


@given(st.integers(1, 10), st.integers(0, 9))
def test_a_count_gives_so_many_different_ones_by_the_seed(count, seed):
    source = TemplateSource(templates=TEMPLATES, words=WORDS, count=count)
    table = source.collect(seed)
    assert len(table) == count == source.expected and table["prompt_id"].is_unique
    assert table.equals(source.collect(seed))


def test_a_slot_that_stands_twice_gets_the_same_word():
    source = TemplateSource(templates=["{animal} after {animal}"], words={"animal": ["fox", "owl"]})
    assert source.collect(0)["text"].tolist() == ["fox after fox", "owl after owl"]


def test_braces_of_the_text_are_doubled():
    assert TemplateSource(templates=["a {{red}} fox"]).collect(0)["text"].tolist() == ["a {red} fox"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": 11}, "count is 11, and the templates have 10 combinations"),
        ({"templates": ["a {colour} fox"]}, r"no words for the slots \['colour'\]"),
        ({"words": WORDS | {"size": ["big"]}}, r"no slot for the words \['size'\]"),
        ({"words": WORDS | {"place": []}}, "'place' is empty"),
        ({"words": WORDS | {"place": ["snow", "snow"]}}, "holds something twice"),
        ({"templates": ["a {color fox"]}, "expected '}'"),
        ({"templates": ["a {} fox"]}, "'' is not a plain slot name"),
        ({"templates": ["a {color.__class__} fox"]}, "is not a plain slot name"),
        ({"templates": []}, "at least 1 item"),
    ],
)
def test_what_cannot_be_filled_is_refused_before_anything_is_collected(wrong, said):
    with pytest.raises(ValidationError, match=said):
        TemplateSource(**({"templates": TEMPLATES, "words": WORDS} | wrong))
