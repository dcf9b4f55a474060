"""Refuse tables that a dataset of another package does not give back as they were saved."""

import json
import math
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from kedro.framework.project import pipelines
from kedro.io import AbstractDataset, CachedDataset

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.prompt_table import PROMPT_COLUMNS, check_prompt_table

_OWN = "rsidiff_kedro."
_TYPE = "in catalog.yml give it the type rsidiff_kedro.datasets.ParquetDataset"
_CURE = f"{_TYPE}, or in CSV load_args: {{keep_default_na: false, dtype: {{prompt_id: str}}}}"


class LossyDatasetError(InputError):
    """A dataset that gives back another table than it was given."""


def check_loaded(name: str, data: Any) -> None:
    """Raise PromptTableError if prompts that a step reads, such as those of a part of a run, lost something on disk."""
    if isinstance(data, pd.DataFrame) and {*PROMPT_COLUMNS} <= {*data.columns}:
        check_prompt_table(data, name, _CURE)


def check_stored(name: str, data: Any, dataset: AbstractDataset[Any, Any] | None) -> None:
    """Raise LossyDatasetError if a step would read another table than a step of this project saved.

    CSV, for one, gives back NaN for an empty text and for "None", numbers for texts of digits, and no `attrs`. Rows and
    columns that options leave out on purpose are no loss, and tables of nodes of your own are your matter.
    """
    stored = dataset._dataset if isinstance(dataset, CachedDataset) else dataset  # in whose cache is what was saved
    if stored is None or stored._EPHEMERAL or type(stored).__module__.startswith(_OWN):
        return
    if not isinstance(data, pd.DataFrame) or not _is_read(name):
        return
    loaded, problem = stored.load(), f"{name} is not what was saved when {type(stored).__name__} loads it"
    if not isinstance(loaded, pd.DataFrame):
        raise LossyDatasetError(f"{problem}: it comes back as {type(loaded).__name__}; {_TYPE}")
    if json.loads(json.dumps(data.attrs, default=str)) != loaded.attrs:
        raise LossyDatasetError(
            f"{problem}: it comes back without its attrs, which say how scores were made; {_TYPE}, or another of "
            "Parquet or Feather"
        )
    if lost := _lost_value(data, loaded):
        raise LossyDatasetError(f"{problem}: {lost}; {_CURE}")


def _is_read(name: str) -> bool:
    return any(name in node.inputs for each in dict(pipelines).values() for node in each.nodes)


def _lost_value(saved: pd.DataFrame, loaded: pd.DataFrame) -> str:
    if len(saved) != len(loaded):
        return ""
    for column in saved.columns.intersection(loaded.columns):
        for row, (old, new) in enumerate(zip(saved[column].tolist(), loaded[column].tolist(), strict=True)):
            if not _is_same(old, new):
                return f"{column!r} holds {_shown(new)} in row {row + 1}, not {_shown(old)}"
    return ""


def _shown(value: Any) -> str:
    return f"{str(value)[:40]!r} ({type(value).__name__})"


def _is_same(old: Any, new: Any) -> bool:
    """Tell whether a value came back; numbers may differ by what float32 cannot tell, and tuples may be lists."""
    old, new = (each.tolist() if isinstance(each, np.ndarray) else each for each in (old, new))
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(map(_is_same, old, new))
    if isinstance(old, Real) and isinstance(new, Real):
        return math.isclose(old, new, rel_tol=1e-6) or (math.isnan(old) and math.isnan(new))
    if all(pd.api.types.is_scalar(each) and pd.isna(each) for each in (old, new)):
        return True
    return type(old) is type(new) and bool(old == new)
