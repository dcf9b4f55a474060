"""The catalog and the parameters: nothing implicit, nothing orphaned."""

from typing import Any

import pytest
from kedro.framework.project import pipelines
from kedro.io import DataCatalog

from rsidiff_kedro.core.validation import fields_of
from rsidiff_kedro.parameters import schema

UNREAD = {"rounds", "keep", "execution"}
"""Sections that the context, `kedro rsi prune` and the hook of the engine read, and no node."""


OF_A_PERSON = {"votes"}
"""Datasets of `kedro rsi label`, which no pipeline makes or reads as such."""


@pytest.fixture
def context(load_context):
    return load_context({"rounds": 3})


@pytest.fixture
def conf(context) -> dict[str, Any]:
    return {name: entry for name, entry in context.config_loader["catalog"].items() if not name.startswith("_")}


def datasets_of_all_pipelines() -> set[str]:
    return {name for pipeline in pipelines.values() for name in pipeline.datasets()}


def test_no_dataset_of_any_pipeline_is_implicit(conf) -> None:
    resolver = DataCatalog.from_config(conf).config_resolver
    names = {name for name in datasets_of_all_pipelines() if not name.startswith("params:")}
    implicit = {name for name in names if name not in conf and resolver.match_dataset_pattern(name) is None}
    assert implicit == set()


def test_every_entry_of_the_catalog_is_used(conf) -> None:
    resolver = DataCatalog.from_config(conf).config_resolver
    names = datasets_of_all_pipelines()
    used = {resolver.match_dataset_pattern(name) for name in names} | names
    assert set(conf) - used == OF_A_PERSON


def test_every_dataset_is_versioned(conf) -> None:
    assert [name for name, entry in conf.items() if entry.get("versioned") is not True] == []


def test_no_two_datasets_share_a_file(context) -> None:
    paths = [entry["filepath"] for entry in context.config_loader["catalog"].values()]
    assert len(paths) == len(set(paths))


def test_every_parameter_is_read_by_a_node() -> None:
    read = {name.removeprefix("params:") for name in datasets_of_all_pipelines() if name.startswith("params:")}

    def is_read(name: str) -> bool:
        return any(name == other or name.startswith(f"{other}.") or other.startswith(f"{name}.") for other in read)

    assert {name.partition(".")[0] for name, _ in fields_of(schema()) if not is_read(name)} == UNREAD


def test_every_parameter_that_a_node_reads_exists(context) -> None:
    read = {name for name in datasets_of_all_pipelines() if name.startswith("params:")}
    assert {name for name in read if name not in context.catalog} == set()


def test_the_test_environment_keeps_its_data_apart(load_context) -> None:
    entries = load_context(env="test").config_loader["catalog"]
    assert all(entry["filepath"].startswith("data/test/") for entry in entries.values())
