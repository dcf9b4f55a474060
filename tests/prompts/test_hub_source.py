"""Prompts of Hugging Face data sets: a real local one, and one that cannot be reached."""

import sys

import huggingface_hub
import pandas as pd
import pytest
from pydantic import ValidationError

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


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"column": "text"}, "no column 'text'; there are Prompt, Category, n"),
        ({"column": "n"}, "column 'n' holds '1' (int64) in row 1, but a prompt is a text"),
        ({"split": "test"}, "['train']"),
        ({"config_name": "other"}, "'other' not found"),
    ],
)
def test_what_the_data_set_has_not_is_refused(dataset, wrong, said, limit):
    assert said in refused(**({"dataset": dataset, "column": "Prompt", "limit": limit} | wrong))


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
