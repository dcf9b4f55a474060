"""Files of prompts as they come: the benchmarks' own formats, and what is wrong with a file."""

import json
import logging
from pathlib import Path

import pandas as pd
import pytest

from rsidiff_kedro.prompts.sources import collect_prompts
from rsidiff_kedro.prompts.sources.file import FileSource, PromptFileError
from rsidiff_kedro.prompts.sources.source import PromptSourceError


def texts(path, **settings):
    """Return the prompts of a file."""
    return FileSource(path=path, **settings).collect(0)["text"].tolist()


def refused(path, content=None, **settings):
    """Return what the error says of a file with this content; always one line that names the file."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptSourceError) as caught:
        FileSource(path=path, **settings).check(0)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def test_parti_prompts_are_read_with_their_categories(tmp_path):
    path = tmp_path / "PartiPrompts.tsv"
    path.write_bytes(
        b"Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tBiology-inspired\n"
        b'a wall with the words "Fly away"\tOutdoor Scenes\tComplex\t\n'
        b'"two, tabs\tand ""quotes"""\tArts\tComplex\t\n'
    )
    table = FileSource(path=path, column="Prompt", category_column="Category").collect(0)
    assert table["text"].tolist() == ["bond", 'a wall with the words "Fly away"', 'two, tabs\tand "quotes"']
    assert table["category"].tolist() == ["Abstract", "Outdoor Scenes", "Arts"]


def test_a_folder_of_lists_gives_a_category_per_file(tmp_path):
    for style in ("photo", "concept-art"):
        (tmp_path / f"{style}.json").write_text(json.dumps([f"a {style} of a fox", f"a {style} of a hare"]))
    (tmp_path / "LICENSE").write_text("none of these")
    table = FileSource(path=tmp_path).collect(0)
    assert table["category"].tolist() == ["concept-art"] * 2 + ["photo"] * 2
    assert set(table["source"]) == {"concept-art.json", "photo.json"}


def test_a_list_of_objects_is_read_by_its_key(tmp_path):
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps([{"id": "005695-0057", "prompt": "a fox"}, {"id": "005784-0093", "prompt": "a hare"}]))
    assert texts(path, column="prompt") == ["a fox", "a hare"]
    assert refused(path).endswith("no column 'text'; there are id, prompt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON (maximum recursion depth"),
        (b"[" + b"9" * 5000 + b"]", "not valid JSON"),
        (b"", "the file is empty"),
        (b"[]", "holds no prompt"),
        (b'{"prompts": ["a fox"]}', 'a JSON object, but prompts are a list; write ["a prompt"]'),
        (b'["a fox", 3]', "the list holds number and text items"),
        (b"[[1]]", "the list holds list items"),
        (b'[{"text": ["a fox"]}]', "column 'text' holds \"['a fox']\" (list) in row 1, but a prompt is a text"),
    ],
)
def test_json_of_another_shape_is_refused(tmp_path, content, said):
    assert said in refused(tmp_path / "a.json", content)


def test_a_line_nested_too_deep_is_refused(tmp_path):
    content = b'{"text": "a fox"}\n{"text": ' + b"[" * 100_000
    assert "line 2 is not valid JSON" in refused(tmp_path / "a.jsonl", content)


@pytest.mark.parametrize("name", ["~no_such_user/prompts.txt", "a" * 5000 + ".txt"])
def test_what_can_be_no_path_is_a_missing_file(tmp_path, name):
    path = FileSource(path=name).within(tmp_path).path
    assert path == tmp_path / name
    assert "no such file" in refused(path)


def test_a_column_of_numbers_is_no_column_of_prompts(tmp_path):
    pd.DataFrame({"text": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    assert "column 'text' holds '1' (int64) in row 1" in refused(tmp_path / "a.parquet")


@pytest.mark.parametrize("content", [b"text;style\na fox;a\n", b"text|style\na fox|a\n", b"sep=,\ntext\na fox\n"])
def test_a_table_with_another_separator_has_no_column_of_prompts(tmp_path, content):
    name = content.splitlines()[0].decode().rstrip(",")
    assert f"no column 'text'; there are {name}" in refused(tmp_path / "p.csv", content)


def test_semicolons_of_a_table_are_named_where_a_prompt_holds_a_comma(tmp_path):
    assert "separate by commas, not semicolons" in refused(tmp_path / "p.csv", b"text;style\na fox, red;a\n")


@pytest.mark.parametrize("content", ["a red fox\na blue hare\n", "fox\nhare\n", "a red fox\t1\na hare\t2\n"])
def test_a_table_without_a_header_loses_no_prompt(tmp_path, content):
    name = content.split("\n")[0].split("\t")[0]
    message = refused(tmp_path / "p.tsv", content.encode())
    assert f"the name of its only column of texts, {name!r}, may be a prompt" in message


def test_a_column_of_one_word_above_longer_texts_is_read(tmp_path):
    (tmp_path / "p.csv").write_text("Prompt,id\na red fox,1\nhare,2\na blue hare,3\n")
    assert texts(tmp_path / "p.csv") == ["a red fox", "hare", "a blue hare"]


@pytest.mark.parametrize("content", ["text,kind\na fox,x\ntext,kind\na hare,y\n", "text\na fox\n\ufefftext\na hare\n"])
def test_a_header_in_the_middle_is_refused(tmp_path, content):
    assert "line 3 repeats the header, as where files were joined" in refused(tmp_path / "p.csv", content.encode())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_byte_order_mark_where_files_were_joined_is_no_part_of_a_prompt(tmp_path, end, caplog):
    (tmp_path / "p.txt").write_bytes(f"\ufeff\ufeffa fox{end}\ufeffa hare".encode())
    assert texts(tmp_path / "p.txt") == ["a fox", "a hare"]
    (tmp_path / "p.txt").write_bytes(f"a fox{end}a hare\ufeffa wolf{end}".encode())
    texts(tmp_path / "p.txt")
    assert "1 line (line 2) with a byte order mark inside" in caplog.text


def test_a_missing_prompt_is_kept_as_an_empty_one_for_the_filters_to_count(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a fox"}\n{"id": 3}\n{"text": null}\n')
    assert texts(tmp_path / "a.jsonl") == ["a fox", "", ""]


def test_two_columns_of_the_name_are_refused(tmp_path):
    assert "2 columns are named 'text'" in refused(tmp_path / "a.csv", b"text,text\na fox,a hare\n")


def test_a_row_longer_than_the_header_is_refused_and_never_shifted(tmp_path):
    assert "not a valid csv file" in refused(tmp_path / "a.csv", b"text\na castle, at night\n")


def test_an_open_quote_is_refused(tmp_path):
    assert "not a valid csv file" in refused(tmp_path / "a.csv", b'text\n"a castle\nat night\n')


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
@pytest.mark.parametrize("suffix", ["csv", "txt", "jsonl"])
def test_lines_may_end_as_on_any_system(tmp_path, suffix, end):
    rows = {"csv": "text\na fox\n\na hare\n", "txt": "a fox\na hare\n"}
    rows["jsonl"] = '{"text": "a fox"}\n\n{"text": "a hare"}\n'
    (tmp_path / f"a.{suffix}").write_bytes(b"\xef\xbb\xbf" + rows[suffix].replace("\n", end).encode())
    assert texts(tmp_path / f"a.{suffix}") == ["a fox", "a hare"]


def test_one_huge_prompt_is_read_whole(tmp_path):
    (tmp_path / "a.csv").write_text("text\n" + "fox " * 500_000 + "\n")
    assert len(texts(tmp_path / "a.csv")[0]) == 1_999_999


def test_hidden_files_of_a_folder_are_passed_over_and_other_ones_counted(tmp_path, caplog):
    for name, content in {
        "animals.txt": b"a fox\n",
        "._animals.txt": b"\x00\x05\x16\x07\x80",
        ".DS_Store": b"\x00",
        "LICENSE": b"none",
        "prompts.xlsx": b"none",
    }.items():
        (tmp_path / name).write_bytes(content)
    with caplog.at_level(logging.INFO, "rsidiff_kedro"):
        assert texts(tmp_path) == ["a fox"]
    assert caplog.messages == [f"{tmp_path}: not read, because they are no prompt files: 2 (LICENSE first)"]


@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_out_of_a_folder_is_refused(tmp_path, monkeypatch, absolute):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("my secret\n")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.txt").write_text("a fox\n")
    folder = tmp_path / "prompts" if absolute else Path("prompts")
    assert texts(folder) == ["a fox"]
    (tmp_path / "prompts" / "b.txt").symlink_to("a.txt")
    assert texts(folder) == ["a fox", "a fox"]
    (tmp_path / "prompts" / "c.txt").symlink_to("../secret.txt")
    message = refused(folder)
    assert "c.txt: a link to a file outside of the folder" in message and "my secret" not in message


def test_what_a_table_has_to_tell_is_logged_once(tmp_path, caplog):
    (tmp_path / "a.csv").write_text('text,kind\n"a fox\nin snow",x\na hare\n')
    with caplog.at_level(logging.WARNING, "rsidiff_kedro"):
        collect_prompts(FileSource(path=tmp_path / "a.csv"), None, 0, keep=True)
        collect_prompts(FileSource(path=tmp_path / "a.csv"), None, 0)
    assert caplog.messages == [
        f"{tmp_path}/a.csv: 1 row (lines 2 to 3) with a line break in quotation marks, read as one row each",
        f"{tmp_path}/a.csv: 1 row (line 4) with fewer fields than the header; what is missing counts as empty",
    ]


def test_a_folder_without_prompts_is_refused(tmp_path):
    assert "holds no prompt file; use .txt" in refused(tmp_path)


def test_errors_of_files_can_be_told_from_others(tmp_path):
    with pytest.raises(PromptFileError):
        FileSource(path=tmp_path / "none.txt").check(0)


def test_folders_within_a_folder_are_told_as_not_read(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("a fox\n", encoding="utf-8")
    for name in ("plants", "animals", ".git"):
        (tmp_path / name).mkdir()
    assert FileSource(path=tmp_path).collect(0)["text"].tolist() == ["a fox"]
    assert caplog.messages == [
        f"{tmp_path}: not read: 2 folders in it (animals first); put their files beside the others, or name each in a "
        "mixture"
    ]
