"""A file of the catalog appears as a whole or not at all."""

import locale
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import Version

from rsidiff_kedro.datasets import JSONDataset, ParquetDataset, PlotlyDataset, TextDataset
from rsidiff_kedro.datasets.folder import FolderError

KINDS: dict[type[AbstractVersionedDataset], Any] = {
    ParquetDataset: pd.DataFrame({"a": [1.5]}),
    JSONDataset: {"a": 1.5},
    TextDataset: "a red circle",
    PlotlyDataset: go.Figure(go.Scatter(x=[1], y=[2])),
}
Make = Callable[..., AbstractVersionedDataset]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[AbstractVersionedDataset]:
    return request.param


def test_what_is_saved_is_loaded_and_lies_alone(kind: Callable[..., Any], tmp_path: Path) -> None:
    dataset = kind(filepath=str(tmp_path / "file"), version=Version(None, "1"))
    dataset.save(KINDS[kind])
    loaded = kind(filepath=str(tmp_path / "file"), version=Version(None, None)).load()
    assert loaded.equals(KINDS[kind]) if isinstance(loaded, pd.DataFrame) else loaded == KINDS[kind]
    assert [path.name for path in (tmp_path / "file" / "1").iterdir()] == ["file"]


TEXTS: dict[type[AbstractVersionedDataset], Any] = {
    JSONDataset: {"a": "caf\u00e9 \ufffd \U0001f98a"},
    TextDataset: "caf\u00e9 \ufffd \U0001f98a",
    PlotlyDataset: go.Figure(layout={"title": {"text": "caf\u00e9 \ufffd \U0001f98a"}}),
}


@pytest.fixture
def ascii_locale() -> Iterator[None]:
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "C")
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize("kind", TEXTS, ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("ascii_locale")
def test_text_is_utf_8_whatever_the_locale(kind: Callable[..., Any], tmp_path: Path) -> None:
    with open(os.devnull) as file:  # noqa: PLW1514
        assert file.encoding != "UTF-8"
    dataset = kind(filepath=str(tmp_path / "file"))
    dataset.save(TEXTS[kind])
    assert dataset.load() == TEXTS[kind]
    (tmp_path / "file").read_text(encoding="utf-8")


def test_a_version_is_never_written_over(kind: Callable[..., Any], tmp_path: Path) -> None:
    for _ in range(2):
        dataset = kind(filepath=str(tmp_path / "file"), version=Version(None, "1"))
        if (tmp_path / "file").exists():
            with pytest.raises(DatasetError, match="must not exist"):
                dataset.save(KINDS[kind])
        else:
            dataset.save(KINDS[kind])


@pytest.mark.parametrize("version", [Version(None, "1"), None])
def test_a_bucket_is_refused(kind: Callable[..., Any], version: Version | None) -> None:
    said = f"{kind.__name__} keeps a file on a local or mounted disk, but its filepath is s3://bucket/file; give a path"
    with pytest.raises(FolderError, match=said):
        kind(filepath="s3://bucket/file", version=version)


def test_what_fails_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "file"), version=Version(None, "1"))
    with pytest.raises(DatasetError, match="not JSON serializable"):
        dataset.save({"a": 1.5, "b": object()})  # written as far as b
    assert not list((tmp_path / "file" / "1").iterdir())
    assert not dataset.exists()
    dataset.save({"a": 1.5})
    assert dataset.load() == {"a": 1.5}
