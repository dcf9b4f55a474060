"""Tables in datasets of other packages come back as they were saved, or a run stops where it saves them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
from kedro.io import AbstractDataset, CachedDataset, MemoryDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset
from kedro_datasets.pickle import PickleDataset

from rsidiff_kedro.core.prompt_table import PromptTableError, prompt_table
from rsidiff_kedro.datasets import ParquetDataset as OwnParquetDataset
from rsidiff_kedro.hooks.session import RsiSession
from rsidiff_kedro.hooks.stored_tables import LossyDatasetError, check_loaded, check_stored
from rsidiff_kedro.provenance.records import Records
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource

EXACT = {"keep_default_na": False}
PROMPTS = prompt_table(["a red fox", "a castle, at night", "None"], "file")
SCORES = pd.DataFrame(
    {
        "prompt_id": ["00", "1e3"],
        "kept": [True, False],
        "proxy": np.float32([0.1, 1e-20]),
        "correct": [True, np.nan],
        "left_open": ['{"size": "small"}', None],
    }
)
NUMBERS = pd.DataFrame({"kept": [True, False], "proxy": np.float32([0.1, 1e-20]), "correct": [True, np.nan]})
NESTED = pd.DataFrame({"ragged": [[[1, 2, 3], [4]], [[5]]], "vector": [np.float32([1, np.nan]), np.float32([2, 3])]})
SCORES.attrs["rewards"] = {"proxy": {"bytes": 3}, "oracle": None}

Dataset = AbstractDataset[Any, Any]


class Rows(PickleDataset):
    """A dataset that gives back something else than a table."""

    def load(self) -> dict[str, Any]:
        table: pd.DataFrame = super().load()
        return table.to_dict()


def stored(dataset: Dataset, table: pd.DataFrame, name: str = "prompt_pool") -> None:
    """What a run does with a table."""
    dataset.save(table)
    check_stored(name, table, dataset)


@pytest.mark.parametrize(
    ("open_dataset", "table"),
    [
        (lambda path: CSVDataset(filepath=path, load_args=EXACT), PROMPTS),
        (lambda path: CSVDataset(filepath=path), PROMPTS.head(2).assign(category="x", split="pool")),
        (lambda path: CSVDataset(filepath=path), PROMPTS.head(0)),
        (lambda path: CSVDataset(filepath=path), NUMBERS),
        (lambda path: ParquetDataset(filepath=path), PROMPTS),
        (lambda path: ParquetDataset(filepath=path), SCORES),
        (lambda path: ParquetDataset(filepath=path, load_args={"filters": [["kept", "==", True]]}), SCORES),
        (lambda path: ParquetDataset(filepath=path, load_args={"columns": ["kept"]}), SCORES),
        (lambda path: ParquetDataset(filepath=path), NESTED),
        (lambda path: PickleDataset(filepath=path), SCORES),
        (lambda path: OwnParquetDataset(filepath=path, load_args={"columns": ["kept"]}), SCORES),
        (lambda path: MemoryDataset(), SCORES),
    ],
)
def test_a_table_that_comes_back_is_accepted(
    project: Path, open_dataset: Callable[[str], Dataset], table: pd.DataFrame
) -> None:
    dataset = open_dataset(str(project / "table"))
    stored(dataset, table)
    loaded = dataset.load()
    assert len(loaded.columns) and {*loaded.columns} <= {*table.columns} and len(loaded) <= len(table)


@pytest.mark.parametrize(
    ("dataset", "table", "said"),
    [
        (
            CSVDataset,
            PROMPTS,
            r"when CSVDataset loads it: 'text' holds 'nan' \(float\) in row 3, not 'None' \(str\); in cat",
        ),
        (
            CSVDataset,
            PROMPTS.head(2),
            r"'category' holds 'nan' \(float\) in row 1, not '' \(str\); .*keep_default_na: false",
        ),
        (
            CSVDataset,
            PROMPTS.head(1).assign(prompt_id="012345678901"),
            r"'prompt_id' holds '12345678901' \(int\) in row 1",
        ),
        (CSVDataset, SCORES, "it comes back without its attrs, which say how scores were made"),
        (Rows, SCORES, "it comes back as dict"),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_what_comes_back_as_something_else_is_refused(
    project: Path, dataset: type[Dataset], table: pd.DataFrame, said: str, cached: bool
) -> None:
    made = dataset(filepath=str(project / "table"))
    opened = CachedDataset(made) if cached else made
    with pytest.raises(LossyDatasetError, match=f"^prompt_pool is not what was saved .*{said}"):
        stored(opened, table)


def test_what_nobody_reads_may_be_stored_in_any_way(project: Path) -> None:
    dataset = CSVDataset(filepath=str(project / "table"))
    stored(dataset, PROMPTS, "rejected_prompts")
    assert dataset.load()["category"].isna().all()


def test_prompts_that_lost_something_are_refused_where_they_are_read() -> None:
    check_loaded("prompt_pool", PROMPTS)
    check_loaded("scores", SCORES.assign(prompt_id=np.nan))
    with pytest.raises(
        PromptTableError, match=r"prompt_pool holds 'nan' \(float\) in row 1 of 'split', not a text; in"
    ):
        check_loaded("prompt_pool", PROMPTS.assign(split=np.nan))


def test_a_run_stops_where_its_prompts_lose_their_empty_categories(project: Path) -> None:
    prompts = GrammarSource(count=24, evaluation_count=12).collect(0)["text"]
    (project / "prompts.txt").write_text("\n".join(prompts))
    filters = {"near_duplicate_threshold": 1.0}
    curation = {"filters": filters, "source": {"kind": "file", "path": "prompts.txt"}, "evaluation_source": None}
    (project / "conf/mine").mkdir()
    (project / "conf/mine/globals.yml").write_text("extends: test\ndata: data/mine\n")
    steps = [f"prompt_curation.{name}" for name in ("collect_prompts", "filter_prompts", "split_prompts")]

    given: dict[str, Any] = {"prompt_curation": curation}

    def run(options: str, steps: list[str] = steps) -> None:
        (project / "conf/mine/catalog.yml").write_text(
            "filtered_prompts: {type: pandas.CSVDataset, versioned: true, "
            f'filepath: "${{globals:data}}/02_intermediate/filtered_prompts.csv", {options}}}\n'
        )
        with RsiSession.create(project, env="mine", runtime_params=given) as session:
            session.run(pipeline_names=["prompt_curation"], node_names=steps, only_missing_outputs=True)

    for _ in range(2):  # nothing is reused of what is not what was saved
        with pytest.raises(
            click.ClickException, match=r"filtered_prompts is not what .* 'category' holds 'nan' \(float\)"
        ):
            run("load_args: {}")
    run("load_args: {keep_default_na: false, dtype: {prompt_id: str}}")
    records = Records(project / "data/mine/lineage").all()
    assert sorted(record.step for record in records) == sorted(steps)
    (path,) = (project / "data/mine").rglob("test_prompts.parquet/*/test_prompts.parquet")
    assert len(pd.read_parquet(path)) == 6
    with pytest.raises(click.ClickException, match=r"filtered_prompts holds 'nan' \(float\) in row 1 of 'category'"):
        run("load_args: {}", steps[2:])
