"""How the catalog loads and saves a dataset counts in the keys of the steps that read or make it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import AbstractDataset, CachedDataset, DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.partitions import PartitionedDataset
from kedro_datasets.pickle import PickleDataset

from rsidiff_kedro.datasets import AdapterDataset, PretrainedDataset
from rsidiff_kedro.datasets.files import ParquetDataset
from rsidiff_kedro.hooks.dataset_options import options_of
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
from rsidiff_kedro.hooks.reuse import ReuseHooks
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.hooks.steps import Steps

Run = Callable[..., list[str]]
PARQUET = {"type": "rsidiff_kedro.datasets.ParquetDataset", "versioned": True}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("1", made={...}, read={...})`: make → count, with these catalog entries; returns what was computed."""

    def run(run_id: str, made: dict[str, Any] | None = None, read: dict[str, Any] | None = None) -> list[str]:
        computed: list[str] = []

        def make() -> pd.DataFrame:
            computed.append("make")
            return pd.DataFrame({"kept": [True, False, True], "text": ["a", "b", "c"]})

        def count(table: pd.DataFrame) -> pd.DataFrame:
            computed.append("count")
            return pd.DataFrame({"rows": [len(table)]})

        pipeline = Pipeline([node(make, None, "made", name="make"), node(count, "made", "counted", name="count")])
        entries = {"made": PARQUET | (made or {}), "counted": PARQUET | (read or {})}
        for name, entry in entries.items():
            entry.setdefault("filepath", str(tmp_path / name))
        catalog = DataCatalog.from_config(entries, save_version=run_id)
        manager, hooks = _create_hook_manager(), ReuseHooks(tmp_path)
        manager.register(hooks)
        given = {"only_missing_outputs": True, "run_id": run_id}
        manager.hook.before_pipeline_run(run_params=given, pipeline=pipeline, catalog=catalog)
        RsiRunner().run(pipeline, catalog, manager, only_missing_outputs=True)
        return computed

    return run


def test_filters_of_loading_concern_those_who_read(run: Run) -> None:
    assert run("1") == ["make", "count"]
    assert run("2") == []
    assert run("3", made={"load_args": {"filters": [["kept", "==", True]]}}) == ["count"]
    assert run("4", made={"load_args": {"filters": [["kept", "==", True]]}}) == []
    assert run("5", made={"load_args": {"filters": [["kept", "==", False]]}}) == ["count"]


def test_options_of_saving_concern_those_who_write(run: Run) -> None:
    run("1")
    assert run("2", read={"save_args": {"compression": "gzip"}}) == ["count"]
    assert run("3", made={"save_args": {"compression": "gzip"}}) == ["make", "count"]  # other bytes
    assert run("4") == []


def test_another_class_makes_and_reads_again(run: Run, tmp_path: Path) -> None:
    run("1")
    plain = {"type": "kedro_datasets.pandas.ParquetDataset"}
    assert run("2", made=plain) == ["make", "count"]


def test_metadata_and_the_place_do_not_count(run: Run) -> None:
    run("1")
    assert run("2", made={"metadata": {"kedro-viz": {"layer": "raw"}}}) == []


@pytest.mark.parametrize(
    ("dataset", "options"),
    [
        (None, {}),
        (MemoryDataset([1]), {}),
        (AdapterDataset(filepath="a"), {"type": "rsidiff_kedro.datasets.adapter_folder.AdapterDataset"}),
        (
            PretrainedDataset(filepath="a", class_name="b.C", stored_dtype="float16", metadata={"x": 1}),
            {
                "type": "rsidiff_kedro.datasets.pretrained.PretrainedDataset",
                "class_name": "b.C",
                "stored_dtype": "float16",
            },
        ),
        (
            PickleDataset(
                filepath="a", backend="joblib", credentials={"token": "secret"}, load_args={"mmap_mode": "r"}
            ),
            {
                "type": "kedro_datasets.pickle.pickle_dataset.PickleDataset",
                "backend": "joblib",
                "load_args": {"mmap_mode": "r"},
            },
        ),
    ],
)
def test_options_are_class_and_arguments_without_the_place(
    dataset: AbstractDataset[Any, Any] | None, options: dict[str, Any]
) -> None:
    assert options_of(dataset, is_input=True) == options


LINES = {"type": "pandas.CSVDataset", "load_args": {"sep": ";", "url": "https://me:secret@host/a"}}
KEYS = {"credentials": {"key": "secret"}, "metadata": {"layer": "raw"}}


@pytest.mark.parametrize(
    "dataset",
    [
        lambda: PartitionedDataset(path="a", dataset={**LINES, **KEYS}, filename_suffix=".csv"),
        lambda: CachedDataset({**LINES, "filepath": "a", **KEYS}),
        lambda: CachedDataset(CSVDataset(filepath="a", load_args=LINES["load_args"], **KEYS)),
    ],
    ids=["of many files", "cached", "cached object"],
)
def test_options_of_a_dataset_within_another_count_and_passwords_are_kept_out(dataset: Callable[[], Any]) -> None:
    options = options_of(dataset(), is_input=True)
    assert options["dataset"]["load_args"]["sep"] == ";"
    assert options["dataset"].keys() == {"type", "load_args"}
    assert options.get("filename_suffix", ".csv") == ".csv"
    assert "secret" not in str(options)


class Plain(AbstractDataset[Any, Any]):
    """A dataset of one's own, without versions."""

    def __init__(self, filepath: str = "") -> None:
        """Take a path, as a dataset of many files gives one."""

    def load(self) -> Any:
        return None

    def save(self, data: Any) -> None:
        """Save nothing."""

    def _describe(self) -> dict[str, Any]:
        return {}


MANY = {"type": PartitionedDataset, "path": "a", "dataset": {"type": Plain}}


@pytest.mark.parametrize(
    ("dataset", "kinds"),
    [
        (None, set()),
        (MemoryDataset([1]), set()),
        (Plain(), {"Plain"}),
        (AdapterDataset(filepath="a"), {"AdapterDataset"}),
        (PartitionedDataset(path="a", dataset={"type": Plain}), {"PartitionedDataset", "Plain"}),
        (CachedDataset(Plain()), {"CachedDataset", "Plain"}),
        (CachedDataset(MANY), {"CachedDataset", "PartitionedDataset", "Plain"}),
    ],
    ids=["unknown", "in memory", "own", "folder", "of many files", "cached", "cached files"],
)
def test_the_code_of_each_class_that_loads_or_saves_counts(dataset: Any, kinds: set[str]) -> None:
    steps = Steps(DataCatalog({} if dataset is None else {"a": dataset}), KeyedParameters(), None)
    for step in (node(max, "a", "b"), node(max, "b", "a")):
        assert {place.name for place in steps._places(step)} == {"max", *kinds}


class Own(ParquetDataset):
    """A dataset with options of its own."""

    def __init__(self, *, filepath: str, limit: Any = None, data: Any = None, path: Any = None) -> None:
        super().__init__(filepath=filepath)


@pytest.mark.parametrize("given", [{"limit": 0}, {"limit": ""}, {"limit": []}, {"data": "a"}, {"path": "b"}])
def test_each_option_of_ones_own_dataset_counts_that_is_not_none(given: dict[str, Any]) -> None:
    assert given.items() <= options_of(Own(filepath="a", **given), is_input=True).items()
    assert options_of(Own(filepath="a", **dict.fromkeys(given)), is_input=True).keys() == {"type"}
