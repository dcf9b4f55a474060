"""Collecting prompts from the grammar and from files."""

import json
import sys
import uuid

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from rsidiff_kedro.core.prompt_table import (
    PROMPT_COLUMNS,
    TEXT_COLUMNS,
    PromptCountError,
    PromptTableError,
    prompt_id,
    prompt_table,
)
from rsidiff_kedro.prompts.sources import SOURCES, PromptSource, collect_prompts
from rsidiff_kedro.prompts.sources.file import FileSource, PromptFileError
from rsidiff_kedro.prompts.sources.mixture import MixtureSource
from rsidiff_kedro.prompts.sources.template import TemplateSource
from rsidiff_kedro.prompts.splits import split_prompts
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource
from rsidiff_kedro.scenes.world.grammar import ANNOTATED, HELD_OUT, bucket, parse_caption

PROMPTS = ["a red fox", "a castle, at night", "日本の庭"]


def write(path, suffix, prompts=PROMPTS, column="text"):
    """Write a file of these prompts."""
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
    """Return what the error says of the source, in one line."""
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


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_without_a_column_the_only_one_of_texts_is_read(tmp_path, suffix):
    path = tmp_path / f"prompts{suffix}"
    table = pd.DataFrame({"id": range(len(PROMPTS)), "Prompt": PROMPTS, "group": "x"})
    if suffix == ".parquet":
        table.to_parquet(path)
    elif suffix == ".jsonl":
        table.to_json(path, orient="records", lines=True)
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    assert FileSource(path=path, category_column="group").collect(0)["text"].tolist() == PROMPTS
    assert message(FileSource(path=path)).endswith("no column 'text'; there are id, Prompt, group")


def test_words_that_read_as_missing_stay_prompts(tmp_path):
    assert FileSource(path=write(tmp_path, ".csv", ["None", "nan", "NA"])).collect(0)["text"].tolist() == [
        "None",
        "nan",
        "NA",
    ]


def test_a_missing_file_is_named(tmp_path):
    assert "lost.txt: no such file" in message(FileSource(path=tmp_path / "lost.txt"))


def test_an_unknown_suffix_answers_with_the_known_ones(tmp_path):
    assert "'.docx'; use one of .txt, .csv, .tsv, .json, .jsonl, .ndjson, .parquet" in message(
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
        ("a.csv", b"text\na fox\na castle, at night, in snow\n", "not a valid csv file"),
        ("a.jsonl", b'{"text": "a fox"}\n{"text"', "line 2 is not valid JSON"),
        ("a.jsonl", b'"a fox"', "line 1 is not a JSON object"),
        ("a.parquet", b"no parquet at all", "not a valid Parquet file"),
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
    with pytest.raises(
        ValidationError, match=r"unknown prompt source 'model'; there are file, hub, .*, grammar; your own"
    ):
        adapter.validate_python({"kind": "model"})
    with pytest.raises(ValidationError, match=r"it needs a kind; there are file, hub, .*, grammar"):
        adapter.validate_python({"path": "a.txt"})


OWN = '''
from typing import Literal

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.prompts.sources.source import Source


class Countdown(Source):
    """Prompts that count down."""

    kind: Literal["{kind}"] = "{kind}"
    start: int

    @property
    def expected(self):
        return self.start

    def canonical(self, text):
        return text.split()[0]

    def collect(self, seed):
        texts = [f"{{number}} foxes" for number in range(self.start, 0, -1)]
        return prompt_table(texts, "countdown", split="pool")
'''


@pytest.fixture
def own_kind(tmp_path, monkeypatch):
    """Write a source into a module that can be imported; return its kind."""
    module = f"own_source_{uuid.uuid4().hex}"
    kind = f"{module}:Countdown"
    (tmp_path / f"{module}.py").write_text(OWN.format(kind=kind))
    monkeypatch.syspath_prepend(tmp_path)
    yield kind
    sys.modules.pop(module, None)


def test_a_users_own_kind_of_source_is_named_by_its_module(own_kind):
    source = TypeAdapter(PromptSource).validate_python({"kind": own_kind, "start": 3})
    table = collect_prompts(source, None, seed=0)
    assert table["text"].tolist() == ["3 foxes", "2 foxes", "1 foxes"]
    assert [len(part) for part in split_prompts(table, 1, 1, seed=0)] == [1, 1, 1]  # though it calls all of them "pool"
    assert source.expected == 3 and source.expected_evaluation is None and not source.costs
    with pytest.raises(ValidationError, match="strat"):
        TypeAdapter(PromptSource).validate_python({"kind": own_kind, "strat": 3})


def test_a_users_own_kind_keeps_its_settings_when_the_parameters_are_written_down(own_kind):
    source = TypeAdapter(PromptSource).validate_python({"kind": own_kind, "start": 3})
    part = MixtureSource(count=2, sources=[{"share": 1.0, "source": source.model_dump()}])
    assert part.model_dump()["sources"][0]["source"] == {"kind": own_kind, "start": 3}
    assert part.canonical("2 foxes") == "2"
    assert set(part.collect(0)["source"]) == {"countdown"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("no_such_module:Foxes", "cannot be imported .* put its file into the project's src/ folder"),
        ("json:Foxes", "module json defines no 'Foxes'"),
        ("json:JSONDecoder", "'json:JSONDecoder' is not a prompt source; name a subclass of Source"),
        ("json:loads", "'json:loads' is not a prompt source; name a subclass of Source"),
    ],
)
def test_a_users_own_kind_that_is_not_there_is_refused(kind, said):
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(PromptSource).validate_python({"kind": kind})


def test_every_registered_kind_is_the_kind_of_its_class():
    assert {name: SOURCES.load(name).model_fields["kind"].default for name in SOURCES.names} == {
        name: name for name in SOURCES.names
    }


def test_prompts_that_a_check_collected_are_kept_for_the_run_alone(tmp_path, monkeypatch):
    source = FileSource(path=write(tmp_path, ".txt"))
    checked = collect_prompts(source, None, 0, keep=True)
    with monkeypatch.context() as patched:
        patched.setattr(FileSource, "collect", None)  # nothing is read again
        assert collect_prompts(source, None, 0) is checked
    source.path.write_text("another prompt\n")
    assert collect_prompts(source, None, 0)["text"].tolist() == ["another prompt"]


@pytest.mark.parametrize(
    "used",
    [
        lambda path: (FileSource(path=path), None),
        lambda path: (FileSource(path=path.parent), None),
        lambda path: (FileSource(path=path.name), None),
        lambda path: (GrammarSource(count=9), FileSource(path=path)),
        lambda path: (MixtureSource(count=1, sources=[{"share": 1, "source": {"kind": "file", "path": path}}]), None),
    ],
    ids=["file", "folder", "relative", "evaluation", "mixture"],
)
def test_prompts_that_are_edited_after_the_check_are_collected_anew(tmp_path, monkeypatch, used):
    """The key of the step, which is computed later, names what it says of the file then."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, ".txt")
    collect_prompts(*used(path), 0, keep=True)
    path.write_text("another prompt\n")
    found = collect_prompts(*used(path), 0)["text"]
    assert "another prompt" in set(found) and not {*found} & {*PROMPTS}


@pytest.mark.parametrize("column", TEXT_COLUMNS)
def test_a_source_that_returns_no_prompt_table_is_refused(monkeypatch, column):
    monkeypatch.setattr(
        GrammarSource, "collect", lambda self, seed: prompt_table(["a fox"], "x").assign(**{column: None})
    )
    with pytest.raises(PromptTableError, match=rf"source grammar holds 'None' \(NoneType\) in row 1 of '{column}'"):
        collect_prompts(GrammarSource(), None, 0)
    monkeypatch.setattr(GrammarSource, "collect", lambda self, seed: prompt_table(["a fox"], "x").drop(columns=column))
    with pytest.raises(PromptTableError, match=rf"lacks the column '{column}' of prompts; make it with `prompt_table`"):
        collect_prompts(GrammarSource(), None, 0, keep=True)


@pytest.mark.parametrize("mark", ["test", "validation", "train", "Pool"])
@pytest.mark.parametrize("is_part", [False, True])
def test_a_source_that_marks_prompts_for_something_else_is_refused(monkeypatch, mark, is_part):
    """So that no prompt that it holds out trains; not as training source, evaluation source or part of a mixture."""
    marks = ["pool", mark, "evaluation", ""]
    table = prompt_table(["a fox", "a hare", "an owl", "a cat"], "x").assign(split=marks)
    monkeypatch.setattr(GrammarSource, "collect", lambda self, seed: table)
    grammar, words = GrammarSource(), TemplateSource(templates=["a {x}"], words={"x": ["fox", "hare"]})
    if is_part:
        grammar = MixtureSource(count=2, sources=[{"share": 1, "source": {"kind": "grammar"}}])
    for used in ((grammar, None), (grammar, words), (words, grammar)):
        with pytest.raises(PromptTableError, match=f"grammar marks 1 of 4 prompts '{mark}' in the column 'split'"):
            collect_prompts(*used, 0, keep=True)


@pytest.mark.parametrize(
    ("marks", "collected", "evaluating"),
    [
        (["pool"] * 4, [""] * 4, {0, 1, 2, 3}),
        (["pool", "pool", "", ""], ["pool", "pool", "", ""], {2, 3}),
        (["", "pool", "", ""], ["", "pool", "", ""], {0, 2, 3}),
        (["evaluation", "", "evaluation", ""], ["evaluation", "pool", "evaluation", "pool"], {0, 2}),
        (["evaluation", "", "evaluation", "pool"], ["evaluation", "pool", "evaluation", "pool"], {0, 2}),
    ],
)
def test_marks_say_what_a_prompt_is_for_from_its_source_to_the_split(monkeypatch, marks, collected, evaluating):
    table = prompt_table(["a fox", "a hare", "an owl", "a cat"], "x").assign(split=marks)
    monkeypatch.setattr(GrammarSource, "collect", lambda self, seed: table)
    found = collect_prompts(GrammarSource(), None, 0)
    assert found["split"].tolist() == collected
    seen = set()
    for seed in range(20):
        parts = split_prompts(found, 1, 1, seed)
        assert [len(part) for part in parts] == [2, 1, 1]
        seen |= {*parts[1]["text"], *parts[2]["text"]}
    assert seen == set(table["text"].iloc[sorted(evaluating)])


@pytest.mark.parametrize("left", [[""], ["", "pool"]])
def test_prompts_beside_those_for_evaluation_do_not_evaluate_where_filters_drop_these(monkeypatch, left):
    table = prompt_table(["a fox", "a hare", "an owl", "a cat"], "x").assign(split=["evaluation", *left * 3][:4])
    monkeypatch.setattr(GrammarSource, "collect", lambda self, seed: table)
    with pytest.raises(PromptCountError, match="3 prompts are left after the filters, 0 of them can evaluate"):
        split_prompts(collect_prompts(GrammarSource(), None, 0).iloc[1:], 1, 1, 0)


@pytest.mark.parametrize("keep", [True, False])
def test_what_a_check_kept_is_not_for_later_runs(tmp_path, keep):
    """As where a run ends after the check, or needs no prompts."""
    source = FileSource(path=write(tmp_path, ".txt"))
    other = TemplateSource(templates=["a {x}"], words={"x": ["fox", "hare"]}, count=2)
    collect_prompts(source, None, 0, keep=True)
    source.path.write_text("another prompt\n")
    collect_prompts(source if keep else other, None, 0, keep=True)
    assert collect_prompts(source, None, 0)["text"].tolist() == ["another prompt"]
