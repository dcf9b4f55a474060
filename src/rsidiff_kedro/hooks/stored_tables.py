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
_CURE = (
    "in catalog.yml give it the type rsidiff_kedro.datasets.ParquetDataset, or load_args that keep every value, such "
    "as keep_default_na: false for empty texts in CSV"
)


class LossyDatasetError(InputError):
    """A dataset that gives back another table than it was given."""


def check_loaded(name: str, data: Any) -> None:
    """Raise PromptTableError if prompts that a step reads, such as those of a part of a run, lost something on disk."""
    if isinstance(data, pd.DataFrame) and {*PROMPT_COLUMNS} <= {*data.columns}:
        check_prompt_table(data, name, _CURE)


def check_stored(name: str, data: Any, dataset: AbstractDataset[Any, Any] | None) -> None:
    """Raise LossyDatasetError if a step would read another table than was saved.

    CSV, for one, gives back NaN for an empty text and for "None", numbers for texts of digits, and no `attrs`. Rows and
    columns that options leave out on purpose are no loss.
    """
    stored = dataset._dataset if isinstance(dataset, CachedDataset) else dataset  # in whose cache is what was saved
    if stored is None or stored._EPHEMERAL or type(stored).__module__.startswith(_OWN):
        return
    if not isinstance(data, pd.DataFrame) or not _is_read(name):
        return
    lost = _difference(data, stored.load())
    if lost:
        raise LossyDatasetError(f"{name} is not what was saved when {type(stored).__name__} loads it: {lost}; {_CURE}")


def _is_read(name: str) -> bool:
    return any(name in node.inputs for each in dict(pipelines).values() for node in each.nodes)


def _difference(saved: pd.DataFrame, loaded: Any) -> str:
    if not isinstance(loaded, pd.DataFrame):
        return f"it comes back as {type(loaded).__name__}"
    if json.loads(json.dumps(saved.attrs, default=str)) != loaded.attrs:
        return "it comes back without its attrs, which say how scores were made"
    if len(saved) != len(loaded):
        return ""
    for column in saved.columns.intersection(loaded.columns):
        for row, (old, new) in enumerate(zip(saved[column].tolist(), loaded[column].tolist(), strict=True)):
            if not _is_same(old, new):
                return f"{column!r} holds {str(new)[:40]!r} in row {row + 1}, not {str(old)[:40]!r}"
    return ""


def _is_same(old: Any, new: Any) -> bool:
    """Tell whether a value came back; numbers may differ by what float32 cannot tell."""
    if isinstance(old, str) or isinstance(new, str):
        return bool(isinstance(old, str) and isinstance(new, str) and old == new)
    if not (pd.api.types.is_scalar(old) and pd.api.types.is_scalar(new)):
        return bool(np.array_equal(np.asarray(old), np.asarray(new)))
    if pd.isna(old) or pd.isna(new):
        return bool(pd.isna(old) and pd.isna(new))
    if isinstance(old, Real) and isinstance(new, Real):
        return math.isclose(old, new, rel_tol=1e-6)
    return bool(old == new)
