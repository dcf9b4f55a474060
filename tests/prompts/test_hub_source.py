"""Prompts of Hugging Face data sets: a real local one, and one that cannot be reached."""

import gzip
import json
import math
import os
import shutil
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError
from small_hub import COMMIT, small_hub

from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.hub import HubSource
from rsidiff_kedro.prompts.sources.source import PromptSourceError


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Return the folder of a data set of three prompts."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "parti").mkdir()
    table = pd.DataFrame(
        {"Prompt": ["a fox", "a hare", "an owl"], "Category": ["Animals", None, "Arts"], "n": [1, 2, 3]}
    )
    table.to_parquet(tmp_path / "parti" / "train.parquet")
    return str(tmp_path / "parti")


def refused(**settings):
    with pytest.raises(PromptSourceError) as caught:
        HubSource(**settings).check(0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_data_set_is_read_with_its_categories(dataset):
    table = HubSource(dataset=dataset, column="Prompt", category_column="Category").collect(0)
    assert table["text"].tolist() == ["a fox", "a hare", "an owl"]
    assert table["category"].tolist() == ["Animals", "", "Arts"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_limit_takes_the_first_rows(dataset, monkeypatch, offline):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    source = HubSource(dataset=dataset, column="Prompt", category_column="Category", limit=2)
    assert source.collect(0)["category"].tolist() == ["Animals", ""]


@pytest.mark.parametrize("other", ["b.csv", "more.jsonl", "sub/c.csv"])
def test_files_that_are_passed_over_are_counted(folder, caplog, other):
    (folder / "train.txt").unlink()
    kept = ".cache/huggingface/trees/c.json"  # which `hf download --local-dir` leaves
    (folder / kept).parent.mkdir(parents=True)
    for name, text in {"train.jsonl": "a fox", "test.jsonl": "a hare", kept: "a cat"}.items():
        (folder / name).write_text(json.dumps({"text": text}))
    assert HubSource(dataset=str(folder)).collect(0)["text"].tolist() == ["a fox"]
    assert not caplog.text
    (folder / other).parent.mkdir(exist_ok=True)
    (folder / other).write_text("text\na wolf\n" if other.endswith("csv") else '{"text": "a wolf"}')
    HubSource(dataset=str(folder)).collect(0)
    assert f"not read: 1 of its tables ({other} first)" in caplog.text


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"column": "text"}, "no column 'text'; there are Prompt, Category, n"),
        ({"column": "n"}, "column 'n' holds '1' (int) in row 1, but a prompt is a text"),
        ({"split": "test"}, "no split 'test'; there are train"),
        ({"config_name": "other"}, "'other' not found"),
    ],
)
def test_what_the_data_set_has_not_is_refused(dataset, wrong, said, limit):
    assert said in refused(**({"dataset": dataset, "column": "Prompt", "limit": limit} | wrong))


@pytest.mark.parametrize("limit", [None, 3])
def test_classes_are_read_by_their_names(dataset, tmp_path, limit):
    from datasets import ClassLabel, Dataset, Features, List, Value

    style = ClassLabel(names=["anime", "photo", "painting"])
    features = Features({"text": Value("string"), "style": style, "styles": List(style), "tags": List(Value("string"))})
    rows = {
        "text": ["a fox", "a hare", "an owl"],
        "style": [2, 0, -1],
        "styles": [[0, 1], [], [2]],
        "tags": [["red", "a fur"], [], None],
    }
    (tmp_path / "labelled").mkdir()
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "labelled" / "train.parquet")
    folder = str(tmp_path / "labelled")
    read = {
        column: HubSource(dataset=folder, category_column=column, limit=limit).collect(0)["category"].tolist()
        for column in ("style", "styles", "tags")
    }
    assert read == {
        "style": ["painting", "anime", ""],
        "styles": ["anime, photo", "", "painting"],
        "tags": ["['red', 'a fur']", "[]", ""],
    }
    label = "dtype: {class_label: {names: {'0': drawing, '1': photo, '2': oil}}}"  # goes before that of the file
    described = f"dataset_info:\n  features:\n  - name: style\n    {label}\n"
    Path(folder, "README.md").write_text(f"---\n{described}---\n", encoding="utf-8")
    renamed = HubSource(dataset=folder, category_column="style", limit=limit).collect(0)
    assert renamed["category"].tolist() == ["oil", "drawing", ""]


@pytest.mark.parametrize("name", ["train.txt", "train.csv", "train.tsv"])
def test_a_byte_order_mark_is_no_part_of_a_prompt(folder, name):
    (folder / "train.txt").unlink()
    content = "a fox\na hare\n" if name.endswith("txt") else "text\na fox\na hare\n"
    (folder / name).write_text(content, encoding="utf-8-sig")
    assert HubSource(dataset=str(folder)).collect(0)["text"].tolist() == ["a fox", "a hare"]


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize("rows", [['"Stop" sign,x', "a fox,x"], ['"Once upon a time,x', "a fox,x", 'a book: "end",x']])
def test_a_table_of_which_rows_would_be_lost_is_refused(folder, rows, limit):
    (folder / "train.txt").unlink()
    (folder / "train.csv").write_text("\n".join(["text,kind", *rows]))
    assert "the row that begins in line 2" in refused(dataset=str(folder), limit=limit)


CSV_FILES = {
    "marks over lines": ("a.csv", 'text,kind\n"a fox,x\na hare,x\nan owl",y\na cat,z\n', ""),
    "words of nothing": ("a.csv", "text,kind\na fox,NA\nnull,None\na hare,007\nnan,\nan owl,1\n", ""),
    "lone marks in TSV": ("a.tsv", 'text\tkind\n"a fox\tx\n"an owl"\ty\na hare"\tz\n', ""),
    "a separator": ("a.csv", 'text;kind\n"a fox; asleep";x\na hare, awake;2\n', ";"),
}


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize("case", CSV_FILES)
def test_csv_of_a_folder_is_read_as_a_file_of_prompts_is(folder, caplog, case, limit):
    name, content, separator = CSV_FILES[case]
    (folder / "train.txt").unlink()
    (folder / name).write_text(content)
    if separator:
        described = f"configs:\n- config_name: default\n  data_files: {name}\n  sep: '{separator}'\n"
        (folder / "README.md").write_text(f"---\n{described}---\n")
    found = HubSource(dataset=str(folder), category_column="kind", limit=limit).collect(0)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("rsidiff_kedro")]
    caplog.clear()
    if separator:
        (folder / name).write_text('"text","kind"\n"a fox; asleep","x"\n"a hare, awake","2"\n')
    same = FileSource(path=folder / name, category_column="kind").collect(0)
    assert found[["text", "category"]].equals(same[["text", "category"]])
    assert told == [record.getMessage() for record in caplog.records]
    assert bool(told) is ("marks" in case)


GUESSED = {
    "a.csv": 'text,kind\na fox,NA\n007,null\n"a hare, asleep",1.50\n',
    "a.jsonl": '{"text": "a fox", "kind": "2020-01-01"}\n{"text": "2021-02-03", "kind": "2020-01-02"}\n',
    "a.ndjson": '{"text": "a fox", "kind": "2020-01-01"}\n{"text": "2021-02-03", "kind": "2020-01-02"}\n',
    "a.json": '{"text": "a fox", "kind": "2020-01-01"}\n{"text": "1.50", "kind": null}\n',
    "b.json": '[{"text": "a fox", "kind": 7}, {"text": "NaN", "kind": "x"}]',
    "a.txt": "a fox\u2028and a hare\nan owl\x0c\n007\n",
    "metadata.csv": "file_name,text,kind\na.png,NA,007\na.png,1.50,null\n",
    "metadata.jsonl": '{"file_name": "a.png", "text": "2020-01-01", "kind": "2020-01-02"}\n',
}
"""Files whose texts pandas, pyarrow's JSON or Python's `splitlines` would change."""


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("name", GUESSED)
def test_no_type_is_guessed_and_no_text_is_changed(folder, name, limit):
    (folder / "train.txt").unlink()
    (folder / name).write_text(GUESSED[name], encoding="utf-8")
    if name.startswith("metadata"):
        Image.new("RGB", (8, 8)).save(folder / "a.png")
    kind = None if name.endswith("txt") else "kind"
    found = HubSource(dataset=str(folder), category_column=kind, limit=limit).collect(0)
    same = FileSource(path=folder / name, category_column=kind).collect(0)[:limit]
    assert found[["text", "category"]].equals(
        same.assign(category="" if kind is None else same["category"])[["text", "category"]]
    )


def media_folder(folder, table, name="metadata.csv"):
    """Write a folder of images and a table, with a column that `datasets` makes of folders where there is none."""
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").unlink(missing_ok=True)
    for image in "abc":
        Image.new("RGB", (8, 8)).save(folder / f"{image}.png")
    (folder / name).write_text("file_name,text,label\n" + table, encoding="utf-8")


MARKS = 'a.png,"a shop that says open,sign\na.png,a poster with "hello",sign\n'
MEDIA_OPTIONS = {
    "none": "",
    "drop_labels: true": "",
    "drop_metadata: false": "",
    "decode_num_threads: 2": "",
    "metadata_filenames: [captions.csv]": "captions.csv",
}


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("category", [None, "label"])
@pytest.mark.parametrize("option", MEDIA_OPTIONS)
def test_a_table_of_media_is_read_as_a_file_of_prompts_is(folder, option, category, limit):
    name = MEDIA_OPTIONS[option] or "metadata.csv"
    if option != "none":
        described = f"configs:\n- config_name: default\n  data_files: '*'\n  {option}\n"
        (folder / "README.md").write_text(f"---\n{described}---\n")
    media_folder(folder, "a.png,null,NA\na.png,1.50,007\n", name)
    found = HubSource(dataset=str(folder), category_column=category, limit=limit).collect(0)
    assert found["text"].tolist() == ["null", "1.50"]
    assert found["category"].tolist() == (["NA", "007"] if category else ["", ""])
    media_folder(folder, MARKS, name)
    assert "the row that begins in line 2" in refused(dataset=str(folder), category_column=category, limit=limit)


def write(folder, suffix, texts, split="train"):
    """Write a split of a data set of one kind."""
    from datasets import Dataset

    rows = [{"text": text} for text in texts]
    lines = "\n".join(map(json.dumps, rows))
    path = folder / f"{split}.{suffix}"
    if suffix == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    elif suffix == "arrow":
        Dataset.from_list(rows).save_to_disk(folder / split)
    elif suffix == "jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif suffix == "png":
        (folder / split).mkdir()
        table = "".join(f"a.png,{text},{text}\n" for text in texts)
        media_folder(folder / split, table)
    else:
        path.write_text({"jsonl": lines, "csv": "text\n" + "\n".join(texts), "txt": "\n".join(texts)}[suffix])


KINDS = ("csv", "jsonl", "jsonl.gz", "txt", "parquet", "arrow", "png")


@pytest.mark.parametrize("suffix", KINDS)
def test_a_split_is_one_of_the_names_that_a_data_set_has(folder, suffix):
    (folder / "train.txt").unlink()
    for name in ("train", "test"):
        write(folder, suffix, [f"a {name} fox", f"a {name} hare"], name)
    for limit in (None, 9):
        for split in ("train[:1]", "train+test", "all", "other"):
            said = refused(dataset=str(folder), split=split, limit=limit)
            assert f"no split {split!r}; there are train, test; give" in said
        found = HubSource(dataset=str(folder), split="test", limit=limit).collect(0)
        assert found["text"].tolist() == ["a test fox", "a test hare"]


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("suffix", KINDS)
def test_a_folders_path_is_no_pattern(folder, monkeypatch, suffix, limit):
    """Such as that of a project."""
    texts = ["a fox", "a hare"]
    for name in ("project [v1]", "project v", "a*b?", "axbx"):
        (folder / name).mkdir()
        write(folder / name, suffix, texts if {*name} & {*"[*"} else [SECRET])
        (folder / name / f"train-2.{suffix}").symlink_to("nowhere")  # passed over in any folder
    monkeypatch.chdir(folder / "project [v1]")
    for path in ("./", "../a*b?", str(folder / "project [v1]")):
        assert HubSource(dataset=path, limit=limit).collect(0)["text"].tolist() == texts[:limit]
    assert not [*folder.parent.glob("cache/**/*.arrow")]


@pytest.mark.parametrize("wrong", ["nothing", "a link", "a hidden file", "pointers"])
def test_what_is_refused_in_a_folder_is_so_in_one_whose_path_has_brackets(folder, tmp_path, wrong):
    (data := folder / "captions [v1]").mkdir()
    (tmp_path / "other" / "a.txt").write_text(SECRET)
    said = "lies elsewhere, or is hidden"
    if wrong == "nothing":
        said = f"The directory at {data} doesn't contain any data files"
    elif wrong == "a link":
        (data / "in").symlink_to(tmp_path / "other")
    elif wrong == "a hidden file":
        (data / ".a.txt").write_text("a fox")
        (data / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: .a.txt\n---\n")
    else:
        (data / "a.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")
        said = f"{data / 'a.txt'}: it is"
    if wrong == "a link":
        (data / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: in/a.txt\n---\n")
    assert said in refused(dataset=str(data))


@pytest.mark.parametrize("limit", [None, 9])
@pytest.mark.parametrize("beside", [False, True])
def test_a_table_of_media_in_an_archive_is_refused(folder, tmp_path, beside, limit):
    media_folder(tmp_path / "packed", MARKS)
    (folder / "train.txt").unlink()
    if beside:
        media_folder(folder, "a.png,a fox,animal\n")
    packed = folder / "images.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(tmp_path / "packed" / "a.png", "a.png")
        archive.write(tmp_path / "packed" / "metadata.csv", "in/metadata.csv")
    assert "images.zip: its table 'in/metadata.csv' lies in an archive" in refused(dataset=str(folder), limit=limit)
    if beside:  # images alone may be packed
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(tmp_path / "packed" / "a.png", "a.png")
        assert HubSource(dataset=str(folder), limit=limit).collect(0)["text"].tolist() == ["a fox"]
    packed.write_bytes(packed.read_bytes()[:-30])
    assert str(folder) in refused(dataset=str(folder), limit=limit)


@pytest.mark.parametrize("described", [True, False])
def test_a_folder_gives_the_rows_that_it_has_now(tmp_path, described):
    """Not those that `datasets` has kept of an earlier state, or of another folder of the same name."""
    for place, rows in (("one", ["a fox"]), ("one", ["an owl", "a hare"]), ("two", ["a cat"])):
        data = tmp_path / place / "set" / "data"
        data.mkdir(parents=True, exist_ok=True)
        if described:
            configs = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
            (data.parent / "README.md").write_text(f"---\n{configs}---\n")
        pd.DataFrame({"text": rows}).to_parquet(data / "train-00000-of-00001.parquet")
        os.utime(data / "train-00000-of-00001.parquet", (1e9, 1e9))
        assert HubSource(dataset=str(data.parent)).collect(0)["text"].tolist() == rows


SAVED = ["a fox 0", "a fox 1", "a fox 2", "a fox 3", "a fox 4"]
BESIDE = {
    "nothing": lambda saved: saved,
    "a map": lambda saved: saved.map(lambda row: {"text": row["text"] + ", masterpiece"}),
    "a filter": lambda saved: saved.filter(lambda row: "1" in row["text"]),
    "another order": lambda saved: saved.shuffle(seed=0),
}


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("made", BESIDE)
def test_a_saved_data_set_is_read_without_what_another_program_made_of_it(folder, caplog, made, shards, limit):
    from datasets import Dataset, DatasetDict, load_from_disk

    (folder / "train.txt").unlink()
    Dataset.from_dict({"text": SAVED}).save_to_disk(folder, num_shards=shards)
    BESIDE[made](load_from_disk(folder))
    assert (len([*folder.glob("cache-*")]) > 0) is (made != "nothing")
    both, other = folder / "both", ["an owl"]
    DatasetDict(train=Dataset.from_dict({"text": SAVED}), test=Dataset.from_dict({"text": other})).save_to_disk(both)
    BESIDE[made](load_from_disk(both)["train"])
    assert HubSource(dataset=str(folder), limit=limit).collect(0)["text"].tolist() == SAVED[:limit]
    for split, texts in {"train": SAVED[:limit], "test": other}.items():
        assert HubSource(dataset=str(both), split=split, limit=limit).collect(0)["text"].tolist() == texts
    assert not caplog.text


def saved_splits(folder, *names):
    """Save a data set of splits of one row; return its files by their names."""
    from datasets import Dataset, DatasetDict

    DatasetDict({name: Dataset.from_dict({"text": [f"a fox of {name}"]}) for name in names}).save_to_disk(folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["folder", "hub", "hub's cache", "what `datasets` has in it"])
@pytest.mark.parametrize("names", [("pool", "heldout"), ("train_sft", "a-b"), ("training", "val"), ("train", "extra")])
def test_the_splits_of_a_saved_data_set_are_those_that_it_was_saved_with(hub, monkeypatch, tmp_path, names, place):
    hub.commits[COMMIT] = saved_splits(tmp_path / "caps [v1]", *names)
    if place not in ("folder", "hub"):
        snapshot(*(["*/*"] if "datasets" in place else []))  # all, or all but dataset_dict.json
        go_offline(monkeypatch)
    named = {"dataset": str(tmp_path / "caps [v1]")}
    named = named if place == "folder" else {"dataset": "owner/name", "revision": COMMIT}
    for name in names:
        assert HubSource(**named, split=name).collect(0)["text"].tolist() == [f"a fox of {name}"]
    usual = {"train_sft": "train", "training": "train", "val": "validation"}  # as `datasets` calls them
    for name in {*names} & {*usual}:
        assert HubSource(**named, split=usual[name]).collect(0)["text"].tolist() == [f"a fox of {name}"]
    for other in {"train", "validation", "train[:1]"} - {*names} - {usual.get(name) for name in names}:
        said = refused(**named, split=other)
        assert f"no split {other!r}; there are " in said and all(name in said for name in names)
    assert "no configuration 'en'" in refused(**named, split=names[0], config_name="en")


def test_what_is_saved_inside_a_saved_data_set_is_no_part_of_it(folder):
    from datasets import Dataset, load_from_disk

    (folder / "train.txt").unlink()
    Dataset.from_dict({"text": SAVED}).save_to_disk(folder)
    saved = load_from_disk(folder)
    BESIDE["a map"](saved).save_to_disk(folder / "edited")
    saved.train_test_split(2, seed=0).save_to_disk(folder / "split")
    (folder / "notes.json").write_text("[]")
    assert HubSource(dataset=str(folder)).collect(0)["text"].tolist() == SAVED


@pytest.mark.parametrize("described", [False, True])
def test_splits_that_are_saved_in_a_sub_folder_are_not_mixed(folder, described):
    (folder / "train.txt").unlink()
    for usual, name in {"test": "test", "validation": "val"}.items():
        saved_splits(folder / "usual", "train", name)
        assert HubSource(dataset=str(folder), split=usual).collect(0)["text"].tolist() == [f"a fox of {name}"]
        shutil.rmtree(folder / "usual")
    saved_splits(folder / "caps", "pool", "heldout")
    (folder / "caps" / "pool" / "cache-1.arrow").write_bytes(b"of another program")
    if described:
        data_files = "data_files: [{split: held, path: caps/heldout/*.arrow}, {split: train, path: caps/pool/*.arrow}]"
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  {data_files}\n---\n")
        assert HubSource(dataset=str(folder)).collect(0)["text"].tolist() == ["a fox of pool"]
        assert "no split 'test'; there are held, train" in refused(dataset=str(folder), split="test")
    else:
        assert "caps/dataset_dict.json makes 'heldout' a split, which" in refused(dataset=str(folder))


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("stated", ["", "in a folder", "with caches"])
def test_a_saved_data_set_of_the_hub_is_read_without_caches(hub, monkeypatch, tmp_path, stated, limit):
    """Also where another program has read them; and from the hub's cache where they are missing there."""
    from datasets import Dataset, load_dataset, load_from_disk

    Dataset.from_dict({"text": SAVED}).save_to_disk(tmp_path / "saved")
    if stated:
        BESIDE["a map"](BESIDE["a map"](load_from_disk(tmp_path / "saved")))
    files = [path for path in (tmp_path / "saved").iterdir() if stated or path.suffix == ".arrow"]
    before = "rows/" if stated == "in a folder" else ""
    hub.commits[COMMIT] |= {before + path.name: path.read_bytes() for path in files}
    if stated:
        prepared = load_dataset("owner/name", revision=COMMIT, cache_dir=str(tmp_path / "prepared"))
        assert len(prepared["train"]) > len(SAVED)
    assert read(limit=limit) == SAVED[:limit]
    go_offline(monkeypatch)
    assert read(limit=limit) == SAVED[:limit]


@pytest.mark.parametrize("saved", ["caps", "train"])
def test_without_the_hub_a_saved_data_set_needs_its_state(hub, monkeypatch, tmp_path, saved):
    from datasets import Dataset

    files, lacking = saved_splits(tmp_path / "caps", "train"), "train/state.json"
    if saved == "train":
        Dataset.from_dict({"text": SAVED}).save_to_disk(tmp_path / "caps")
        files, lacking = {path.name: path.read_bytes() for path in (tmp_path / "caps").glob("*.*")}, "state.json"
    hub.commits[COMMIT] = files
    snapshot("*.arrow")
    go_offline(monkeypatch)
    assert f"{LACKING} ({lacking})" in refused(dataset="owner/name", revision=COMMIT)


BROKEN = {
    "state.json": [
        "{",
        "[]",
        '{"_data_files": 7}',
        '{"_data_files": []}',
        '{"_data_files": [{"filename": "b.arrow"}]}',
        '{"_data_files": [{"filename": "../other/a.arrow"}]}',
    ],
    "dataset_dict.json": [
        "{",
        "[]",
        '{"splits": 7}',
        '{"splits": "train"}',
        '{"splits": [1]}',
        '{"splits": ["train", "../other"]}',
    ],
}


@pytest.mark.parametrize(("name", "content"), [(name, each) for name in BROKEN for each in BROKEN[name]])
def test_a_saved_data_set_that_is_not_whole_is_refused(folder, name, content):
    from datasets import Dataset

    (folder / "train.txt").unlink()
    Dataset.from_dict({"text": SAVED}).save_to_disk(folder)
    if name != "state.json":
        (folder / "state.json").unlink()
    (folder / name).write_text(content)
    said = refused(dataset=str(folder))
    assert name in said and "save the data set again" in said


@pytest.mark.parametrize("name", ["state.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("made", ["a link", "a pointer"])
def test_a_file_of_a_saved_data_set_that_is_none_is_refused(folder, name, made):
    from datasets import Dataset

    (folder / "train.txt").unlink()
    Dataset.from_dict({"text": SAVED}).save_to_disk(folder)
    if made == "a link":
        (folder / name).rename(folder.parent / "other" / name)
        (folder / name).symlink_to(f"../other/{name}")
    else:
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert f"{name}: it {'lies elsewhere' if made == 'a link' else 'is a git-lfs pointer'}" in refused(
        dataset=str(folder)
    )


def test_a_state_of_something_else_beside_arrow_files_says_nothing(folder):
    from datasets import Dataset

    (folder / "train.txt").unlink()
    Dataset.from_dict({"text": SAVED}).save_to_disk(folder)
    (folder / "state.json").write_text('{"epoch": 1}')
    assert HubSource(dataset=str(folder)).collect(0)["text"].tolist() == SAVED


WHOLE, CLASS = "dtype: int64", "dtype: {class_label: {names: {'0': photo, '1': anime}}}"


def classes(names, values, text=("a fox", "a hare")):
    """Return a table whose own features name the classes of `kind`, also in lists."""
    from datasets import ClassLabel, Features, List, Value

    kind = List(ClassLabel(names=names)) if isinstance(values[0], list) else ClassLabel(names=names)
    return pa.table({"text": list(text), "kind": values}, Features(text=Value("string"), kind=kind).arrow_schema)


ANIME = classes(["anime", "photo"], [0, 1])
PAINTING = classes(["painting", "photo"], [0, -1])
LISTED = [classes(names, [[0, 1], [1]]) for names in (["anime", "photo"], ["painting", "photo"])]
NAMED, PHOTO = ["anime, photo", "photo"], ["photo", "painting"]
NO_CLASS, TWICE = classes(["oil"], [None] * 2), ["photo", "anime", "anime", "photo"]
NO_NUMBERS, FIRST = {"kind": pa.nulls(2, pa.float64())}, {"kind": [[0], [1, 0]]}
OF_ONE_TYPE = {
    "fractions later": ([{"kind": [1, 2]}, {"kind": [2.0, None]}], None, ["1", "2", "2", ""]),
    "fractions first": ([{"kind": [1.0, None]}, {"kind": [1, 2]}], None, ["1.0", "", "1.0", "2.0"]),
    "texts later": ([{"kind": pa.nulls(2)}, {"kind": ["photo", None]}], None, ["", "", "photo", ""]),
    "none later": ([{"kind": [1, 2]}, {}], None, ["1", "2", "", ""]),
    "none": ([{}, {}], "dtype: string", ["", "", "", ""]),
    "none, then all": ([{}, {"kind": [1.0, 2.0]}], WHOLE, ["", "", "1", "2"]),
    "declared whole": ([{"kind": [1.0, None]}], WHOLE, ["1", ""]),
    "declared class": ([{"kind": [1, -1]}, {"kind": [0, 1]}], CLASS, ["anime", "", "photo", "anime"]),
    "declared by name": ([{"kind": ["photo", None]}], CLASS, ["photo", ""]),
    "declared numbers": ([{"kind": pa.array([0, 1])}], "classes", ["0", "1"]),
    "other classes": ([ANIME, PAINTING], None, ["anime", "photo", "painting", ""]),
    "more classes": ([ANIME, classes(["anime", "photo", "oil"], [2, 0])], None, ["anime", "photo", "oil", "anime"]),
    "lists of other classes": (LISTED, None, ["anime, photo", "photo", "painting, photo", "photo"]),
    "texts, then classes": ([{"kind": ["oil", "photo"]}, PAINTING], None, ["oil", "photo", "painting", ""]),
    "classes, then texts": ([PAINTING, {"kind": ["oil", None]}], None, ["painting", "", "oil", ""]),
    "classes, then numbers": ([ANIME, {"kind": [1.0, None]}], None, ["anime", "photo", "photo", ""]),
    "none, then classes": ([{"kind": pa.nulls(2)}, ANIME, PAINTING], None, ["", "", "anime", "photo", "painting", ""]),
    "numbers, then classes": ([{"kind": [1, 0]}, PAINTING, ANIME], None, [*PHOTO, "painting", "", "anime", "photo"]),
    "truths, then classes": ([{"kind": [True, None]}, ANIME], None, ["photo", "", "anime", "photo"]),
    "NaN, then classes": ([{"kind": [math.nan] * 2}, ANIME], None, ["", "", "anime", "photo"]),
    "classes, then NaN": ([ANIME, {"kind": [math.nan] * 2}], None, ["anime", "photo", "", ""]),
    "NaN, then texts": ([{"kind": [math.nan] * 2}, {"kind": ["photo", None]}], None, ["", "", "photo", ""]),
    "no numbers, then texts": ([NO_NUMBERS, {"kind": ["photo", "x"]}], None, ["", "", "photo", "x"]),
    "numbers, then NaN": ([{"kind": [1, 2]}, {"kind": [math.nan] * 2}], None, ["1", "2", "", ""]),
    "no lists, then texts": ([{"kind": pa.nulls(2, pa.list_(pa.int8()))}, ANIME], None, ["", "", "anime", "photo"]),
    "lists of classes, then of numbers": ([LISTED[0], FIRST], None, [*NAMED, "anime", "photo, anime"]),
    "lists of numbers, then of classes": ([FIRST, LISTED[0]], None, ["anime", "photo, anime", *NAMED]),
    "lists of classes, then of names": ([LISTED[0], {"kind": [["photo"], []]}], None, [*NAMED, "photo", ""]),
    "classes, then none": ([ANIME, {}], None, ["anime", "photo", "", ""]),
    "classes declared as texts": ([ANIME, PAINTING], "dtype: string", ["anime", "photo", "painting", ""]),
    "classes declared as others": ([ANIME, PAINTING], CLASS, ["photo", "anime", "photo", ""]),
    "numbers, then no classes": ([{"kind": [7, 8]}, NO_CLASS], None, ["7", "8", "", ""]),
    "no classes, then numbers": ([NO_CLASS, {"kind": [7, 8]}], None, ["", "", "7", "8"]),
    "no classes, then classes": ([NO_CLASS, {"kind": [1, 0]}, ANIME], None, ["", "", *TWICE]),
    "declared texts": ([{"text": [1, 2], "kind": ["photo", "x"]}], "dtype: string", ["photo", "x"]),
}


def write_tables(folder, suffix, columns, kind):
    """Write Parquet or Arrow files of these columns, whose own metadata may call `kind` a class, and a description."""
    import datasets

    for number, each in enumerate(columns):
        table = each if isinstance(each, pa.Table) else pa.table({"text": ["a fox", "a hare"]} | each)
        if kind == "classes":
            label = datasets.ClassLabel(names=["photo", "anime"])
            table = table.cast(datasets.Features(text=datasets.Value("string"), kind=label).arrow_schema)
        path = folder / f"train-{number}.{suffix}"
        if suffix == "parquet":
            pq.write_table(table, path)
        else:
            with pa.ipc.new_stream(path, table.schema) as file:
                file.write_table(table)
    if kind is not None:
        kind = WHOLE if kind == "classes" else kind
        described = f"dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: kind\n    {kind}\n"
        (folder / "README.md").write_text(f"---\n{described}---\n")


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("case", OF_ONE_TYPE)
def test_a_column_has_one_type_in_all_files_the_declared_or_the_first(folder, case, suffix, caplog):
    """As `datasets` makes them, so that one category is not two."""
    columns, kind, expected = OF_ONE_TYPE[case]
    (folder / "train.txt").unlink()
    write_tables(folder, suffix, columns, kind)
    for limit in (None, len(expected)):
        found = HubSource(dataset=str(folder), category_column="kind", limit=limit).collect(0)
        assert found["category"].tolist() == expected
    lacking = sum("kind" not in getattr(each, "column_names", each) for each in columns)
    told = f"no column 'kind', which is left empty for {2 * lacking} of {2 * len(columns)} rows"
    assert (told in caplog.text) == (lacking > 0), caplog.text


LISTS = {"kind": [["photo"], ["anime"]]}
OF_TWO_TYPES = {
    "lists later": ([{"kind": ["photo", "x"]}, LISTS], None, None, "-1.{}: its columns cannot be of the types"),
    "texts declared": ([LISTS], "dtype: string", None, "-0.{}: its columns cannot be of the types"),
    "lists declared": ([{"kind": ["photo", "x"]}], "list: string", None, "-0.{}: its columns cannot be of the types"),
    "no class": ([{"kind": ["photo", "x"]}], CLASS, None, "-0.{}: its columns cannot be of the types"),
    "classes later": ([{"kind": [0, 2]}, ANIME], None, None, "-0.{}: column 'kind' holds class 2, but"),
    "no such class": ([ANIME, {"kind": [1, 2]}], None, None, "-1.{}: column 'kind' holds class 2, but"),
    "no column": ([{}, {"kind": [1, 2]}], None, None, "-0.{}: no column 'kind'; there are text"),
    "no prompts": ([ANIME, ANIME.select(["kind"])], None, None, "-1.{}: no column 'text'; there are kind"),
    "no prompts, declared": ([ANIME.select(["kind"])], WHOLE, None, "-0.{}: no column 'text'; there are kind"),
    "a number": ([{"kind": [1, 2]}], None, "7", "-0.{}: `datasets` does not know the types"),
    "nothing": ([{"kind": [1, 2]}], None, "null", "-0.{}: `datasets` does not know the types"),
    "no features": ([{"kind": [1, 2]}], None, '{"info": 7}', "-0.{}: `datasets` does not know the types"),
    "no type": (
        [{"kind": [1, 2]}],
        None,
        '{"info": {"features": {"kind": {"dtype": 5, "_type": "Value"}}}}',
        "-0.{}: `datasets` does not know the types",
    ),
    "no names": (
        [{"kind": [1, 2]}],
        None,
        '{"info": {"features": {"kind": {"names": 5, "_type": "ClassLabel"}}}}',
        "-0.{}: `datasets` does not know the types",
    ),
}


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("case", OF_TWO_TYPES)
def test_a_file_whose_columns_have_no_type_that_fits_is_named(folder, case, suffix):
    columns, kind, own, said = OF_TWO_TYPES[case]
    (folder / "train.txt").unlink()
    if own is not None:
        columns = [pa.table({"text": ["a fox", "a hare"]} | columns[0]).replace_schema_metadata({"huggingface": own})]
    write_tables(folder, suffix, columns, kind)
    assert f"train{said.format(suffix)}" in refused(dataset=str(folder), category_column="kind")


@pytest.mark.parametrize("option", ["on_bad_files: skip", "filters: [[text, '=', a fox]]"])
def test_an_option_that_leaves_out_rows_of_parquet_is_refused(dataset, option):
    described = f"configs:\n- config_name: default\n  data_files: train.parquet\n  {option}\n"
    Path(dataset, "README.md").write_text(f"---\n{described}---\n", encoding="utf-8")
    assert "its description sets" in refused(dataset=dataset, column="Prompt")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Return a hub with the data set owner/name, which a real server plays."""
    import datasets

    with small_hub(tmp_path / "hub", monkeypatch) as served:
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", huggingface_hub.constants.ENDPOINT)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "prepared")
        commit_of.cache_clear()
        yield served
        commit_of.cache_clear()


def test_a_table_of_the_hub_is_read_as_a_file_of_prompts_is(hub, tmp_path, monkeypatch):
    files, asked = hub.commits[COMMIT], hub.asked
    for name in ("a.csv", "b.csv"):
        files[name] = GUESSED["a.csv"].encode()
    settings = {"dataset": "owner/name", "revision": COMMIT, "category_column": "kind"}
    found = HubSource(**settings).collect(0)
    assert found["text"].tolist() == ["a fox", "007", "a hare, asleep"] * 2
    assert found["category"].tolist() == ["NA", "null", "1.50"] * 2
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    again = HubSource(**settings).collect(0)
    assert again.equals(found)
    assert any("/resolve/" in path and path.endswith("b.csv") for path in asked)


def test_files_of_the_hub_after_the_first_rows_are_not_downloaded(hub):
    files, asked = hub.commits[COMMIT], hub.asked
    files |= {"a.csv": GUESSED["a.csv"].encode(), "b.csv": GUESSED["a.csv"].encode()}
    assert len(HubSource(dataset="owner/name", revision=COMMIT, limit=2).collect(0)) == 2
    assert not any("/resolve/" in path and path.endswith("b.csv") for path in asked)


def parquet(*texts: str) -> bytes:
    return pd.DataFrame({"text": texts}).to_parquet()


def go_offline(monkeypatch):
    """As HF_HUB_OFFLINE does for a new process."""
    import datasets

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    commit_of.cache_clear()


@pytest.mark.parametrize("suffix", ["parquet", "txt"])
def test_without_the_hub_a_revision_is_the_commit_that_was_read_with_it(hub, monkeypatch, suffix):
    """Whatever `datasets` has read last."""
    made = parquet if suffix == "parquet" else lambda text: f"{text}\n".encode()
    older, newer, third = (letter * 40 for letter in "abd")
    hub.commits |= {older: {"train." + suffix: made("a fox")}, newer: {"train." + suffix: made("an owl")}}
    hub.commits[newer]["README.md"] = b"a data set"
    hub.branches |= {"main": older, "v1": newer}

    def read(revision):
        return HubSource(dataset="owner/name", revision=revision).collect(0)["text"].tolist()

    wanted = {"v1": ["an owl"], "main": ["an owl"], newer: ["an owl"], older: ["a fox"]}
    assert read("main") == ["a fox"]
    hub.branches["main"] = newer
    commit_of.cache_clear()
    assert {revision: read(revision) for revision in wanted} == wanted
    go_offline(monkeypatch)
    assert {revision: read(revision) for revision in wanted} == wanted
    for revision in ("v2", third):
        assert f"has files of {older}, {newer}; run once with the network" in refused(
            dataset="owner/name", revision=revision
        )


DESCRIBED = (
    "---\nconfigs:\n- config_name: en\n  default: true\n  data_files: en/train.{0}\n"
    "- config_name: fr\n  data_files: fr/train.{0}\n---\n"
)


def fill(hub, suffix):
    """Give a hub either three tables, or two configurations; return the prompts."""
    files = hub.commits[COMMIT]
    files[".gitattributes"] = files["LICENSE"] = b"of no data"
    if suffix == "csv":
        files |= {f"{name}.csv": f"text\n{name} 1\n{name} 2\n".encode() for name in "abc"}
        return [f"{name} {number}" for name in "abc" for number in (1, 2)]
    for name, text in (("en", "a red fox"), ("fr", "un renard roux")):
        files[f"{name}/train.{suffix}"] = {
            "parquet": lambda text: parquet(text),
            "txt": lambda text: f"{text}\n".encode(),
            "jsonl.gz": lambda text: gzip.compress(json.dumps({"text": text}).encode()),
        }[suffix](text)
    files["README.md"] = DESCRIBED.format(suffix).encode()
    return ["a red fox"]


def download(*names):
    for name in names:
        huggingface_hub.hf_hub_download("owner/name", name, repo_type="dataset", revision=COMMIT)


def snapshot(*patterns):
    chosen = list(patterns) or None
    huggingface_hub.snapshot_download("owner/name", repo_type="dataset", revision=COMMIT, allow_patterns=chosen)


def read(**more):
    return HubSource(dataset="owner/name", revision=COMMIT, **more).collect(0)["text"].tolist()


UNKNOWN, LACKING = "does not say whether these are all", "were not downloaded"
PARTS = {
    "the first rows": ("csv", lambda: read(limit=2), LACKING, "b.csv, c.csv"),
    "the first file": ("csv", lambda: snapshot("a.csv"), LACKING, "b.csv, c.csv"),
    "another file": ("csv", lambda: download("b.csv"), UNKNOWN, "b.csv"),
    "all but one": ("csv", lambda: snapshot("[ac].csv"), LACKING, "b.csv"),
    "another configuration": ("txt", lambda: download("fr/train.txt"), UNKNOWN, "fr/train.txt"),
    "another one of a list": ("txt", lambda: snapshot("fr/*"), LACKING, "README.md"),
    "another one described": ("txt", lambda: snapshot("fr/*", "README.md"), LACKING, "en/train.txt"),
    "the description": ("parquet", lambda: snapshot("README.md"), LACKING, "en/train.parquet"),
    "one by its name": ("parquet", lambda: read(config_name="fr"), LACKING, "en/train.parquet"),
    "rows that are not kept": ("jsonl.gz", lambda: read(limit=1), UNKNOWN, "README.md"),
}


@pytest.mark.parametrize("part", PARTS)
def test_without_the_hub_a_part_of_a_data_set_is_not_read_as_the_whole(hub, monkeypatch, part):
    suffix, load, said, named = PARTS[part]
    fill(hub, suffix)
    load()
    go_offline(monkeypatch)
    message = refused(dataset="owner/name", revision=COMMIT)
    assert said in message and f"({named})" in message
    assert f"`hf download owner/name --repo-type dataset --revision {COMMIT}`" in message


@pytest.mark.parametrize("load", [snapshot, read])
@pytest.mark.parametrize("suffix", ["csv", "txt", "parquet"])
def test_without_the_hub_a_whole_data_set_is_read_as_with_it(hub, monkeypatch, tmp_path, suffix, load):
    texts = fill(hub, suffix)
    load()
    go_offline(monkeypatch)
    assert read() == texts and read(limit=1) == texts[:1]
    monkeypatch.chdir(tmp_path)  # as a relative HF_HOME
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", "hub")
    assert read() == texts


def test_without_the_hub_a_state_of_something_else_is_not_needed(hub, monkeypatch):
    hub.commits[COMMIT] = {"a.parquet": parquet("a fox"), "state.json": b'{"epoch": 1}', "dataset_dict.json": b"{}"}
    snapshot("*.parquet")
    go_offline(monkeypatch)
    assert read() == ["a fox"]


@pytest.mark.parametrize(
    ("option", "load"),
    [
        ("data_files: {0}/train.{1}", lambda: read(config_name="fr")),
        ("data_files: {0}/train.{1}", lambda: snapshot("fr/*", "README.md")),
        ("data_dir: {0}", lambda: snapshot("fr/*", "README.md")),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "jsonl.gz"])
def test_without_the_hub_one_configuration_needs_its_own_files_alone(hub, monkeypatch, suffix, option, load):
    fill(hub, suffix)
    configs = "".join(f"- config_name: {name}\n  {option.format(name, suffix)}\n" for name in ("en", "fr"))
    hub.commits[COMMIT]["README.md"] = f"---\nconfigs:\n{configs}---\n".encode()
    load()
    go_offline(monkeypatch)
    assert read(config_name="fr") == read(config_name="fr", limit=1) == ["un renard roux"]


def test_without_the_hub_the_rows_of_the_files_that_are_there_can_be_read(hub, monkeypatch):
    texts = fill(hub, "csv")
    assert read(limit=2) == texts[:2]
    go_offline(monkeypatch)
    assert read(limit=2) == texts[:2]
    assert LACKING in refused(dataset="owner/name", revision=COMMIT, limit=4)


@pytest.mark.parametrize("suffix", ["csv", "txt", "parquet"])
def test_what_another_program_has_prepared_is_not_read(hub, monkeypatch, tmp_path, suffix):
    """It may be another configuration, or read by another reader."""
    import datasets

    texts = fill(hub, suffix)
    if suffix == "csv":
        hub.commits[COMMIT]["a.csv"] = b'text\n"NA"\na 2\n'
        texts[0] = "NA"
    assert read() == texts
    chosen = None if suffix == "csv" else "fr"
    prepared = datasets.load_dataset("owner/name", chosen, revision=COMMIT, cache_dir=str(tmp_path / "prepared"))
    assert prepared["train"]["text"][0] != texts[0]
    go_offline(monkeypatch)
    assert read() == texts


def test_a_hub_that_fails_is_not_replaced_by_what_was_prepared(hub, monkeypatch, tmp_path):
    import datasets

    texts = fill(hub, "csv")
    assert read() == texts
    datasets.load_dataset("owner/name", revision=COMMIT, cache_dir=str(tmp_path / "prepared"))
    hub.commits.clear()
    assert "the hub did not return its files; try again" in refused(dataset="owner/name", revision=COMMIT)
    go_offline(monkeypatch)
    assert read() == texts


CLASSES = {
    "as pandas writes them": ('1.0\n1.0\n0.0\n""', ["mammal", "mammal", "bird", ""]),
    "with a missing one": ("1\n-1.0\n0\n ", ["mammal", "", "bird", ""]),
    "names and numbers": ("bird\n1\n mammal\n0.00", ["bird", "mammal", "mammal", "bird"]),
    "a part of one": ("1.5\n0\n0\n0", "holds class '1.5', but its features name 2 classes"),
    "another name": ("bird\nfish\n0\n0", "holds class 'fish', but"),
    "a word of nothing": ("bird\nNA\n0\n0", "holds class 'NA', but"),
    "a number too high": ("bird\n2.0\n0\n0", "holds class 2, but"),
}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("case", CLASSES)
def test_classes_in_a_file_of_text_get_their_names_or_are_refused(folder, case, suffix):
    written, wanted = CLASSES[case]
    (folder / "train.txt").unlink()
    table = pd.DataFrame({"text": ["a fox", "a hare", "an owl", "a stone"], "kind": written.split("\n")})
    table["kind"] = table["kind"].replace('""', "")
    if suffix == "csv":
        table.to_csv(folder / "train.csv", index=False)
    else:
        table.to_json(folder / "train.jsonl", orient="records", lines=True)
    label = "dtype: {class_label: {names: {'0': bird, '1': mammal}}}"
    described = f"dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: kind\n    {label}\n"
    (folder / "README.md").write_text(f"---\n{described}---\n")
    if isinstance(wanted, str):
        assert wanted in refused(dataset=str(folder), category_column="kind")
    else:
        assert HubSource(dataset=str(folder), category_column="kind").collect(0)["category"].tolist() == wanted


def test_numbers_of_classes_in_json_are_read_by_their_names(folder):
    """The first class too, whose number counts as false."""
    (folder / "train.txt").unlink()
    rows = ('{"text": "a fox", "kind": 1}', '{"text": "an owl", "kind": 0}', '{"text": "a stone", "kind": null}')
    (folder / "a.jsonl").write_text("\n".join(rows))
    label = "dtype: {class_label: {names: {'0': bird, '1': mammal}}}"
    described = f"dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: kind\n    {label}\n"
    (folder / "README.md").write_text(f"---\n{described}---\n")
    found = HubSource(dataset=str(folder), category_column="kind").collect(0)
    assert found["category"].tolist() == ["mammal", "bird", ""]


def test_numbers_of_classes_in_csv_are_read_by_their_names(folder):
    (folder / "train.txt").unlink()
    (folder / "a.csv").write_text("text,kind\na fox,1\na hare,\nan owl,bird\na newt,-1\n")
    label = "dtype: {class_label: {names: {'0': bird, '1': mammal}}}"
    described = f"dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: kind\n    {label}\n"
    (folder / "README.md").write_text(f"---\n{described}---\n")
    found = HubSource(dataset=str(folder), category_column="kind").collect(0)
    assert found["category"].tolist() == ["mammal", "", "bird", ""]


@pytest.mark.parametrize(
    "option",
    [
        *("on_bad_lines: skip", "comment: a", "skiprows: 1", "nrows: 1", "quoting: 3", "quotechar: a", "escapechar: a"),
        *("converters: {a: b}", "skipfooter: 1", "names: [text]", "header: 2", "index_col: 0", "thousands: ','"),
        *("na_values: a fox", "encoding: latin-1", "encoding_errors: ignore", "doublequote: false", "sep: ', '"),
        *("skipinitialspace: true", "lineterminator: a", "usecols: [0]", "delimiter: '\\s'"),
    ],
)
def test_an_option_of_a_description_that_changes_rows_is_refused(folder, option):
    (folder / "train.txt").unlink()
    (folder / "a.csv").write_text("text\na fox\na hare\n")
    described = f"configs:\n- config_name: default\n  data_files: a.csv\n  {option}\n"
    (folder / "README.md").write_text(f"---\n{described}---\n")
    assert str(folder) in (message := refused(dataset=str(folder)))
    assert "of its CSV files" in message


@pytest.mark.parametrize("limit", [None, 9])
def test_compressed_csv_is_refused(folder, limit):
    (folder / "train.txt").unlink()
    (folder / "train.csv.gz").write_bytes(gzip.compress(b"text\na fox\n"))
    assert "train.csv.gz: CSV in a file of the kind '.gz'; unpack it" in refused(dataset=str(folder), limit=limit)


SECRET = "my secret"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the folder of a data set beside a secret file and a folder with one."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in ("set", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.txt").write_text("a fox\n" if name == "set" else SECRET)
    (tmp_path / "secret.txt").write_text(SECRET)
    return tmp_path / "set"


@pytest.fixture
def opened(folder):
    """Return the paths that a real server of this machine was asked for, and its address."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield asked, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


MEDIA = {kind: {"_type": kind} for kind in ("Image", "Audio", "Video", "Pdf")} | {
    "a list of Image": {"_type": "List", "feature": {"_type": "Image"}},
}


def media_set(folder, feature, column, path):
    """Write a data set of two columns, one of which names a file in the way of `datasets`."""
    (folder / "train.txt").unlink()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values: Any = {"bytes": None, "path": path}
    if feature["_type"] == "List":
        values, kind = [values], pa.list_(kind)
    columns = {"text": ["a fox"], "kind": ["animal"]} | {column: pa.array([values], kind)}
    features = {name: {"_type": "Value", "dtype": "string"} for name in columns} | {column: feature}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), folder / "train.parquet")


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("column", ["text", "kind"])
@pytest.mark.parametrize("media", MEDIA)
def test_a_column_that_names_files_is_never_opened(folder, opened, monkeypatch, media, column, limit):
    asked, address = opened
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    media_set(folder, MEDIA[media], column, f"{address}/a.png")
    settings = {"dataset": str(folder), "category_column": "kind", "limit": limit}
    assert f"column {column!r} is of the kind {media.split()[-1]!r}" in refused(**settings)
    assert asked == []


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("media", MEDIA)
def test_columns_that_are_not_asked_for_are_not_opened(folder, opened, monkeypatch, media, limit):
    asked, address = opened
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    media_set(folder, MEDIA[media], "kind", f"{address}/a.png")
    assert HubSource(dataset=str(folder), limit=limit).collect(0)["text"].tolist() == ["a fox"]
    assert asked == []


@pytest.mark.parametrize("limit", [None, 2])
def test_columns_that_are_not_asked_for_are_not_read(folder, tmp_path, limit):
    """Images that cannot be read would show that they are."""
    (folder / "train.txt").unlink()
    path = folder / "train.parquet"
    image = pa.array([{"bytes": bytes(1000), "path": "a.png"}] * 3)
    pq.write_table(pa.table({"text": ["a fox", "a hare", "an owl"], "image": image}), path)
    place = pq.ParquetFile(path).metadata.row_group(0).column(1)
    content, start = bytearray(path.read_bytes()), place.dictionary_page_offset
    content[start : start + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(content)
    found = HubSource(dataset=str(folder), limit=limit).collect(0)
    assert found["text"].tolist() == ["a fox", "a hare", "an owl"][:limit]
    assert not [*tmp_path.rglob("*.arrow")]  # nor are rows copied
    assert "not a valid Parquet file" in refused(dataset=str(folder), category_column="image", limit=limit)


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", b'{"text": "a fox"}\n{bad\n'),
        ("train.parquet", b"PAR1xxxxPAR1"),
        ("train.arrow", b"ARROW1xxxxARROW1"),
        ("train.arrow", b""),
        ("train.txt", b"a fox\n\xff\xfe\n"),
        ("README.md", b"---\nconfigs: [1, 2]\n---\n"),
    ],
)
def test_a_damaged_file_ends_in_one_line(folder, name, content, limit):
    (folder / "train.txt").unlink()
    (folder / name).write_bytes(content)
    assert str(folder) in refused(dataset=str(folder), limit=limit)


@pytest.mark.parametrize("layout", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize(
    "named",
    [
        "data_files: ../secret.txt",
        "data_files: '{}/secret.txt'",
        "data_files: 'file://{}/secret.txt'",
        "data_files: ../se*.txt",
        "data_files: sub/../../secret.txt",
        "data_files: ['train.txt', '../secret.txt']",
        "data_files: [{{split: train, path: ['train.txt', '../secret.txt']}}]",
        "data_files: http://127.0.0.1:9/secret.txt",
        "data_files: hf://datasets/owner/name/secret.txt",
        "data_files: 'zip://secret.txt::{}/secret.zip'",
        "data_dir: ../other",
        "data_dir: '{}/other'",
    ],
)
def test_a_data_set_names_its_own_files_alone(folder, layout, named):
    text = f"configs:\n- config_name: default\n  {named.format(folder.parent)}\n"
    (folder / layout).write_text(f"---\n{text}---\n# A data set" if layout == "README.md" else text)
    message = refused(dataset=str(folder))
    assert f"{layout} names" in message and "paths relative to its folder" in message and SECRET not in message


@pytest.mark.parametrize("named", ["data_files: train.txt", "data_files: '*.txt'", "data_dir: .", "data_files: ./tr*"])
def test_a_data_set_may_say_which_of_its_files_are_read(folder, named):
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  {named}\n---\n")
    assert HubSource(dataset=str(folder)).collect(0)["text"].tolist() == ["a fox"]


@pytest.mark.parametrize(("link", "to"), [("train.txt", "../secret.txt"), ("data", "../other")])
def test_a_link_out_of_a_data_set_is_refused(folder, link, to):
    (folder / "train.txt").unlink()
    (folder / link).symlink_to(to)
    named = "train.txt" if link == "train.txt" else "data/train.txt"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {named}\n---\n")
    assert "lies elsewhere" in refused(dataset=str(folder))


@pytest.mark.parametrize("named", [".train.txt", ".data/train.txt"])
@pytest.mark.parametrize("layout", ["README.md", ".huggingface.yaml"])
def test_a_hidden_file_of_a_data_set_which_counts_in_no_key_is_refused(folder, layout, named):
    (folder / named).parent.mkdir(exist_ok=True)
    (folder / "train.txt").rename(folder / named)
    text = f"configs:\n- config_name: default\n  data_files: {named}\n"
    (folder / layout).write_text(f"---\n{text}---\n" if layout == "README.md" else text)
    assert "lies elsewhere, or is hidden; put the file itself" in refused(dataset=str(folder))


def test_a_description_that_is_a_link_out_of_a_data_set_is_refused(folder):
    (folder / "README.md").symlink_to("../secret.txt")
    assert "README.md: no file of the data set" in refused(dataset=str(folder))


def test_a_folder_of_the_hubs_cache_is_read_through_its_links(folder, tmp_path):
    repository = tmp_path / "hub" / "datasets--owner--name"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "blobs" / "123").write_text("a fox\n")
    (repository / "snapshots" / "abc" / "train.txt").symlink_to("../../blobs/123")
    assert HubSource(dataset=str(repository / "snapshots" / "abc")).collect(0)["text"].tolist() == ["a fox"]


@pytest.mark.parametrize(
    ("path", "belongs"),
    [
        ("hf://datasets/owner/name@0123/train.txt", True),
        ("hf://datasets/owner/name/train.txt", True),
        ("hf://datasets/owner/names@0123/train.txt", False),
        ("hf://datasets/other/name@0123/train.txt", False),
        ("/etc/passwd", False),
        ("file:///etc/passwd", False),
        ("https://example.org/train.txt", False),
        ("zip://a.txt::hf://datasets/owner/name@0123/a.zip", False),
    ],
)
def test_a_data_set_of_the_hub_has_the_files_of_its_repository_alone(path, belongs):
    from rsidiff_kedro.prompts.sources.data_set import _belongs

    assert _belongs(path, "owner/name", is_folder=False) is belongs


@pytest.mark.parametrize("kind", ["h5", "lance", "md"])
def test_a_kind_of_data_set_that_can_name_other_files_is_refused(folder, kind):
    (folder / "train.txt").rename(folder / f"train.{kind}")
    assert "files can name other files" in refused(dataset=str(folder))


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "cannot be read" in refused(dataset=str(tmp_path / "none"))


def test_an_id_that_cannot_be_reached_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # as the variable of that name sets it
    message = refused(dataset="nobody/nothing", revision="main")
    assert "Couldn't reach 'nobody/nothing'" in message and message.endswith("or give a local folder")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as where it is not installed
    assert refused(dataset="./parti").endswith("pip install datasets")


def test_an_id_needs_its_revision():
    with pytest.raises(ValidationError, match="give a commit or tag"):
        HubSource(dataset="nateraw/parti-prompts")


def test_a_folders_relative_path_is_taken_from_the_project(tmp_path):
    assert HubSource(dataset="./parti").within(tmp_path).dataset == str(tmp_path / "parti")
    assert HubSource(dataset="~no_such_user/a").within(tmp_path).dataset == str(tmp_path / "~no_such_user/a")
    assert HubSource(dataset="owner/name", revision="main").within(tmp_path).dataset == "owner/name"


@pytest.mark.parametrize(
    "source", [lambda folder: HubSource(dataset=str(folder)), lambda folder: FileSource(path=folder)]
)
def test_missing_parts_are_told(tmp_path, monkeypatch, caplog, source):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in (0, 2):
        pd.DataFrame({"text": [f"a fox {number}"]}).to_parquet(folder / f"train-0000{number}-of-00003.parquet")
    assert len(source(folder).collect(0)) == 2
    assert "1 of 3 parts are missing (train-00001-of-00003 first)" in caplog.text
    pd.DataFrame({"text": ["a fox 1"]}).to_parquet(folder / "train-00001-of-00003.parquet")
    caplog.clear()
    assert len(source(folder).collect(0)) == 3 and "missing" not in caplog.text


@pytest.mark.parametrize(("rows", "told"), [(2, True), (4, False)])
def test_fewer_rows_than_a_data_set_declares_are_told(tmp_path, monkeypatch, caplog, rows, told):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "declared"
    folder.mkdir()
    split = "dataset_info:\n  splits:\n  - name: train\n    num_examples: 4\n    num_bytes: 9\n"
    (folder / "README.md").write_text(f"---\n{split}---\n")
    (folder / "train.csv").write_text("text\n" + "".join(f"a fox {number}\n" for number in range(rows)))
    assert len(HubSource(dataset=str(folder)).collect(0)) == rows
    assert ("declares 4 rows of train, and 2 are there" in caplog.text) == told


BOTH, TEXT_ALONE, KIND_ALONE = ({"text": "a fox", "kind": "x"},), ({"text": "a hare"},), ({"kind": "y"},)
ABSENT = {
    "later": ((BOTH, TEXT_ALONE, TEXT_ALONE), None, ["x", "", ""]),
    "first, declared": ((TEXT_ALONE, BOTH, TEXT_ALONE), "dtype: string", ["", "x", ""]),
    "classes, declared": ((TEXT_ALONE, BOTH), "dtype: {class_label: {names: {'0': y, '1': x}}}", ["", "x"]),
    "always, declared": ((TEXT_ALONE, TEXT_ALONE), "dtype: string", ["", ""]),
    "first": ((TEXT_ALONE, BOTH), None, "no column 'kind'; there are text"),
    "the prompts": ((BOTH, KIND_ALONE), None, "no column 'text'"),
}


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "json.gz"])
@pytest.mark.parametrize("case", ABSENT)
def test_a_column_of_categories_that_a_file_lacks_is_empty_there(folder, case, suffix, caplog):
    files, kind, expected = ABSENT[case]
    (folder / "train.txt").unlink()
    for number, rows in enumerate(files):
        lines = json.dumps(rows) if suffix in ("json", "json.gz") else "\n".join(map(json.dumps, rows))
        content = pd.DataFrame(rows).to_csv(index=False) if suffix == "csv" else lines
        content = gzip.compress(content.encode()) if suffix == "json.gz" else content.encode()
        (folder / f"train-{number}.{suffix}").write_bytes(content)
    if kind:
        described = f"dataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: kind\n    {kind}\n"
        (folder / "README.md").write_text(f"---\n{described}---\n")
    for limit in (None, 9):
        caplog.clear()
        if isinstance(expected, str):
            assert expected in refused(dataset=str(folder), category_column="kind", limit=limit)
            continue
        found = HubSource(dataset=str(folder), category_column="kind", limit=limit).collect(0)
        assert found["category"].tolist() == expected
        told = f"no column 'kind', which is left empty for {expected.count('')} of {len(expected)} rows"
        assert told in caplog.text or (kind and suffix == "json.gz")  # which `datasets` fills in


@pytest.mark.parametrize("suffix", KINDS)
def test_the_column_of_prompts_may_be_that_of_categories(folder, suffix):
    (folder / "train.txt").unlink()
    write(folder, suffix, ["a fox", "a hare"])
    for limit in (None, 9):
        found = HubSource(dataset=str(folder), category_column="text", limit=limit).collect(0)
        assert found["text"].tolist() == found["category"].tolist() == ["a fox", "a hare"]
