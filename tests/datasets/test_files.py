"""A file of the catalog appears as a whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest
from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import Version

from rsidiff_kedro.datasets import JSONDataset, ParquetDataset, PlotlyDataset, TextDataset

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


def test_a_version_is_never_written_over(kind: Callable[..., Any], tmp_path: Path) -> None:
    for _ in range(2):
        dataset = kind(filepath=str(tmp_path / "file"), version=Version(None, "1"))
        if (tmp_path / "file").exists():
            with pytest.raises(DatasetError, match="must not exist"):
                dataset.save(KINDS[kind])
        else:
            dataset.save(KINDS[kind])


def test_what_fails_in_the_middle_leaves_no_file(tmp_path: Path) -> None:
    dataset = JSONDataset(filepath=str(tmp_path / "file"), version=Version(None, "1"))
    with pytest.raises(DatasetError, match="not JSON serializable"):
        dataset.save({"a": 1.5, "b": object()})  # written as far as b
    assert not list((tmp_path / "file" / "1").iterdir())
    assert not dataset.exists()
    dataset.save({"a": 1.5})
    assert dataset.load() == {"a": 1.5}
