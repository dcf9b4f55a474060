"""Damaged prompt files, kept replies, lineage records, tables and configuration are refused in one line, or read."""

import io
import json
import shutil
from pathlib import Path

import click
import pandas as pd
import pyarrow as pa
import pytest
from damage import damaged, damaged_json, examples
from hypothesis import given
from kedro.io import DatasetError
from kedro_datasets.pandas import ParquetDataset

from rsidiff_kedro.core.prompt_table import PROMPT_COLUMNS
from rsidiff_kedro.hooks.configuration import RsiConfigLoader
from rsidiff_kedro.parameters import ParameterError, Parameters, parse_parameters
from rsidiff_kedro.prompts.sources.chat import Reply, ReplyCache, parse_reply
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.hub import HubSource
from rsidiff_kedro.prompts.sources.source import PromptSourceError, Source
from rsidiff_kedro.provenance.records import Record, Records, chain, differences, flat
from rsidiff_kedro.settings import CONFIG_LOADER_ARGS

PROMPTS = pd.DataFrame(
    {"text": ["a red circle", "a café, ☃", 'he said "two\tdogs"'], "kind": ["plain", "", "says"], "number": [1, 2, 3]}
)


def parquet() -> bytes:
    buffer = io.BytesIO()
    PROMPTS.to_parquet(buffer, index=False)
    return buffer.getvalue()


def arrow() -> bytes:
    table, buffer = pa.Table.from_pandas(PROMPTS), io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as stream:
        stream.write_table(table)
    return buffer.getvalue()


FILES = {
    "txt": "\n".join(PROMPTS["text"]).encode(),
    "csv": PROMPTS.to_csv(index=False).encode(),
    "tsv": PROMPTS.to_csv(index=False, sep="\t").encode(),
    "json": PROMPTS.to_json(orient="records").encode(),
    "jsonl": PROMPTS.to_json(orient="records", lines=True).encode(),
    "parquet": parquet(),
    "arrow": arrow(),
}


@pytest.mark.parametrize("kind", FILES)
def test_prompt_files(tmp_path_factory: pytest.TempPathFactory, kind: str, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "prompts"
    folder.mkdir()
    path = folder / f"prompts.{kind}"
    category = None if kind == "txt" else "kind"
    others = [content for name, content in FILES.items() if name != kind]
    if kind == "arrow":  # of a data set that `datasets` has saved
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": path.name}]}))

    @examples(150)
    @given(damaged_json(FILES[kind]) if kind == "json" else damaged(FILES[kind], others))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        source: Source = FileSource(path=path, category_column=category)
        if kind == "arrow":
            source = HubSource(dataset=str(folder), category_column=category)
        prompts = answer(lambda: source.collect(0), PromptSourceError, folder)
        if prompts is not None:
            assert list(prompts.columns) == list(PROMPT_COLUMNS)
            assert all(isinstance(text, str) for column in ("text", "category") for text in prompts[column])
            assert prompts["prompt_id"].str.fullmatch("[0-9a-f]{12}").all()
            prompts.to_parquet(io.BytesIO())

    check()


def test_kept_replies(tmp_path_factory: pytest.TempPathFactory, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "replies"
    cache, body = ReplyCache(folder), {"model": "m", "messages": []}
    cache.put("http://localhost/v1", body, Reply(content='["a fox", "a hare"]', finish_reason="stop", tokens=9))
    (path,) = folder.iterdir()
    whole = path.read_bytes()

    @examples(150)
    @given(damaged_json(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        reply = answer(lambda: cache.get("http://localhost/v1", body), PromptSourceError, folder)
        if reply is not None:
            texts, _ = parse_reply(reply)
            assert all(isinstance(text, str) for text in texts)

    check()


RECORD = Record(
    step="finetune",
    version="2026-01-01T00.00.00.000Z",
    outputs={"rsi.round_1.adapter": "d1"},
    code="aaa",
    assets="bbb",
    libraries={"torch": "2.0"},
    parameters={"finetune": {"steps": 3, "targets": ["a"]}, "seed": 0},
    inputs={"images": "0123456789abcdef"},
    origins={"images": "2025-12-31T00.00.00.000Z"},
    device="cpu",
)


def test_lineage_records(tmp_path_factory: pytest.TempPathFactory, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "lineage"
    Records(folder).write(RECORD)
    path = next(folder.glob("*.json"))
    whole = path.read_bytes()

    @examples(200)
    @given(damaged_json(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        records = Records(folder)  # a new one each time, as it reads a file once
        found = answer(lambda: records.versions(RECORD.key), (), folder)
        for record in found:
            # Digests of the outputs, the origins of the inputs, the device and the time are no part of the key.
            free = {
                "outputs": RECORD.outputs,
                "origins": RECORD.origins,
                "device": RECORD.device,
                "seconds": RECORD.seconds,
            }
            assert record.model_copy(update=free) == RECORD
            assert "/" not in record.version
            assert type(record.seconds) is float and 0.0 <= record.seconds < float("inf")
            assert chain(found, record) == [record]
            assert list(differences(RECORD, record)) == []
            assert flat(record.parameters)
        assert records.all() == found

    check()


def test_tables_of_the_catalog(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "tables"
    folder.mkdir()
    scores = pd.DataFrame({"image_id": ["a", "b", "c"], "prompt_id": "p", "proxy": [0.1, 0.2, 0.3], "correct": True})
    scores.attrs["rewards"] = {"proxy": {}}
    dataset = ParquetDataset(filepath=str(folder / "scores.parquet"))
    dataset.save(scores)
    whole = (folder / "scores.parquet").read_bytes()

    @examples(150)
    @given(damaged(whole))
    def check(content: bytes) -> None:
        (folder / "scores.parquet").write_bytes(content)
        try:
            loaded = dataset.load()
        except DatasetError:
            return
        assert isinstance(loaded, pd.DataFrame)

    check()


@pytest.mark.parametrize(
    "name", ["base/parameters_prompt_curation.yml", "base/parameters_rewards.yml", "scenes/parameters.yml"]
)
def test_parameters(tmp_path_factory: pytest.TempPathFactory, name: str, answer) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "conf"
    shutil.copytree(Path(__file__).parents[2] / "conf", folder)
    path = folder / name
    whole = path.read_bytes()

    def load() -> Parameters:
        return parse_parameters(RsiConfigLoader(str(folder), **CONFIG_LOADER_ARGS)["parameters"])

    assert load()

    @examples(60)
    @given(damaged(whole, [b"", b"- 1\n", b"a: [", json.dumps({"rounds": 3}).encode()]))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        answer(load, (ParameterError, click.UsageError), folder)

    check()
