"""Collecting prompts from the grammar and from files."""

import json

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from rsidiff_kedro.core.prompt_table import PROMPT_COLUMNS, PromptCountError, prompt_id
from rsidiff_kedro.prompts.sources import (
    FileSource,
    GrammarSource,
    PromptFileError,
    PromptSource,
)
from rsidiff_kedro.scenes.world.grammar import ANNOTATED, HELD_OUT, bucket, parse_caption

PROMPTS = ["a red fox", "a castle, at night", "日本の庭"]


def write(path, suffix, prompts=PROMPTS, column="text"):
    """A file of these prompts."""
    path = path / f"prompts{suffix}"
    table = pd.DataFrame({column: prompts, "kind": "x"})
    if suffix == ".parquet":
        table.to_parquet(path)
    elif suffix == ".txt":
        path.write_text("\n".join(prompts) + "\n", encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")), encoding="utf-8")
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    return path


def message(source):
    """What the error says of the source, without the folder."""
    with pytest.raises(PromptFileError) as caught:
        source.check(0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl", ".parquet", ".CSV"])
def test_every_kind_of_file_gives_the_same_prompts(tmp_path, suffix):
    table = FileSource(path=write(tmp_path, suffix)).collect(0)
    assert tuple(table.columns) == PROMPT_COLUMNS
    assert table["text"].tolist() == PROMPTS
    assert table["prompt_id"].tolist() == [prompt_id(text) for text in PROMPTS]
    assert set(table["source"]) == {f"prompts{suffix}"} and set(table["split"]) == {""}


def test_a_file_may_name_its_column_and_its_categories(tmp_path):
    source = FileSource(path=write(tmp_path, ".csv", column="Prompt"), column="Prompt", category_column="kind")
    assert set(source.collect(0)["category"]) == {"x"}


def test_words_that_read_as_missing_stay_prompts(tmp_path):
    assert FileSource(path=write(tmp_path, ".csv", ["None", "nan", "NA"])).collect(0)["text"].tolist() == [
        "None",
        "nan",
        "NA",
    ]


def test_a_missing_file_is_named(tmp_path):
    assert "lost.txt: no such file" in message(FileSource(path=tmp_path / "lost.txt"))


def test_an_unknown_suffix_answers_with_the_known_ones(tmp_path):
    assert "'.docx'; use one of .txt, .csv, .tsv, .json, .jsonl, .parquet" in message(
        FileSource(path=tmp_path / "a.docx")
    )


@pytest.mark.parametrize("content", ["", "\n \n", "text\n"])
def test_a_file_without_a_prompt_is_an_error(tmp_path, content):
    path = tmp_path / "empty.csv"
    path.write_text(content)
    assert "empty.csv: the file" in message(FileSource(path=path))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_missing_column_answers_with_those_there_are(tmp_path, suffix):
    assert message(FileSource(path=write(tmp_path, suffix), column="caption")).endswith(
        "no column 'caption'; there are text, kind"
    )


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
def test_a_file_that_is_not_utf8_answers_with_the_byte(tmp_path, suffix):
    path = tmp_path / f"latin{suffix}"
    path.write_bytes(b"a caf\xe9 at night")
    assert "not UTF-8 (byte 0xe9 at position 5)" in message(FileSource(path=path))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"text\na fox\na castle, at night, in snow\n", "no sound csv"),
        ("a.jsonl", b'{"text": "a fox"}\n{"text"', "line 2 is no JSON"),
        ("a.jsonl", b'"a fox"', "line 1 is no JSON object"),
        ("a.parquet", b"no parquet at all", "no sound Parquet file"),
    ],
)
def test_a_malformed_file_is_an_error(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert said in message(FileSource(path=tmp_path / name))


def test_a_byte_order_mark_is_no_part_of_a_prompt(tmp_path):
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfa red fox\r\na blue bird\r\n")
    assert FileSource(path=path).collect(0)["text"].tolist() == ["a red fox", "a blue bird"]


def test_the_default_grammar_gives_as_many_prompts_as_it_says():
    table = GrammarSource().collect(0)
    counts = table.groupby(["split", "category"]).size().to_dict()
    assert counts == {
        ("evaluation", "one_object"): 204,
        ("evaluation", "two_objects"): 136,
        ("pool", "one_object"): 123,
        ("pool", "two_objects"): 277,
    }
    assert table["prompt_id"].is_unique


def test_grammar_prompts_keep_to_their_buckets():
    table = GrammarSource(count=60, evaluation_count=60).collect(1)
    buckets = table["text"].map(lambda text: bucket(parse_caption(text)))
    assert (buckets[table["split"] == "evaluation"] < HELD_OUT).all()
    assert (buckets[table["split"] == "pool"] >= ANNOTATED).all()


def test_evaluation_prompts_do_not_change_with_the_size_of_the_pool():
    small, large = (GrammarSource(count=count).collect(1) for count in (50, 500))
    small, large = (table[table["split"] == "evaluation"] for table in (small, large))
    pd.testing.assert_frame_equal(small, large)


def test_other_seeds_collect_other_prompts():
    one, other = (set(GrammarSource(count=50).collect(seed)["text"]) for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"count": 124, "two_objects": 0}, r"`source.count` = 124 .* 124 captions .* the pool, but there are 123"),
        ({"evaluation_count": 400}, r"needs 240 captions .* the evaluation, but there are 204"),
    ],
)
def test_more_captions_of_one_object_than_there_are_is_an_error(asked, said):
    source = GrammarSource(**({"count": 100, "evaluation_count": 10} | asked))
    with pytest.raises(PromptCountError, match=said):
        source.check(0)


def test_a_source_is_told_by_its_kind(tmp_path):
    adapter = TypeAdapter(PromptSource)
    assert isinstance(adapter.validate_python({"kind": "grammar", "count": 5}), GrammarSource)
    assert isinstance(adapter.validate_python({"kind": "file", "path": "a.txt"}), FileSource)
    with pytest.raises(ValidationError, match="'grammar', 'file'"):
        adapter.validate_python({"kind": "model"})
