"""Read prompts from a Hugging Face data set."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from rsidiff_kedro.core.hub import name_commit, pinned
from rsidiff_kedro.core.locations import Location
from rsidiff_kedro.core.untrusted.tables import TableError, class_names, name_classes
from rsidiff_kedro.core.untrusted.text import without_credentials
from rsidiff_kedro.prompts.sources.source import PromptSourceError, Source, read_columns

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


def _is_existing_folder(text: str, root: Path = Path()) -> bool:
    return text.startswith((".", "/", "~")) or os.path.isdir(root / text)


class HubSource(Source):
    """One column of a data set on the Hugging Face hub, or in a local folder that `datasets` reads.

    No code of a data set is run, and no file outside of it is read. With HF_HUB_OFFLINE=1 only the hub's cache is read.

    Attributes:
        dataset: id on the hub, such as nateraw/parti-prompts, or a folder, written ./data/captions.
        revision: commit or tag of a data set on the hub; `main` is the newest.
        config_name: one configuration of a data set with several.
        split: name of one split of the data set, all of which goes through this project's own split.
        category_column: the column of categories; None for no categories.
        limit: number of first rows; None for all. Files after these rows are not downloaded; of Parquet, unless
            HF_HUB_OFFLINE is set, no more than these rows.
    """

    kind: Literal["hub"] = "hub"
    dataset: Annotated[str, Location(revision="revision", hub="dataset", is_path=_is_existing_folder)] = Field(
        min_length=1
    )
    revision: str | None = None
    config_name: str | None = None
    split: str = "train"
    column: str = "text"
    category_column: str | None = None
    limit: int | None = Field(default=None, ge=1)

    @property
    def _is_folder(self) -> bool:
        return self.dataset.startswith((".", "/", "~"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.revision is None and not self._is_folder:
            raise ValueError(
                f"revision of {self.dataset!r} is not given; give a commit or tag of the data set, so that a rerun "
                "reads the same prompts (main is whatever is newest), or write a folder as ./data/captions"
            )
        return self

    def collect(self, seed: int) -> pd.DataFrame:
        revision = self.revision if self._is_folder else pinned(self.dataset, self.revision, "dataset")
        try:
            import datasets
        except ModuleNotFoundError:
            raise PromptSourceError(
                "prompt_curation.source: the kind hub needs the package datasets; pip install datasets"
            ) from None
        from rsidiff_kedro.prompts.sources.data_set import open_data_set

        wanted = [column for column in (self.column, self.category_column) if column is not None]
        try:
            loaded = open_data_set(
                self.dataset, wanted, self._is_folder, self.config_name, self.split, revision, self.limit
            )
            is_table = isinstance(loaded, pd.DataFrame)
            rows = loaded[: self.limit] if is_table else _read_rows(loaded, wanted, self.limit, self.dataset)
        except PromptSourceError:
            raise
        except TableError as error:
            raise PromptSourceError(f"{self.dataset}: {error}") from None
        # The bases of what datasets, its readers and the hub's client raise.
        except (OSError, ValueError, RuntimeError, ImportError, datasets.exceptions.DatasetsError) as error:
            said = (error.__cause__ or error) if isinstance(error, datasets.exceptions.DatasetsError) else error
            reason = " ".join(without_credentials(str(said)).split())[:300]
            raise PromptSourceError(
                f"{self.dataset}: the data set cannot be read ({reason}); check its id, "
                f"revision {self.revision!r}, config_name and split {self.split!r}, or give a local folder"
            ) from None
        if not self._is_folder:
            name_commit(self.dataset, self.revision, "dataset")
        if rows.empty:
            raise PromptSourceError(f"{self.dataset}: split {self.split!r} holds no row; name another")
        return read_columns(rows, self.column, self.category_column, self.dataset, self.dataset)


def _read_rows(loaded: "Dataset | IterableDataset", wanted: list[str], limit: int | None, name: str) -> pd.DataFrame:
    """Return the wanted columns of the first rows; classes get their names."""
    known = loaded.column_names or list(next(iter(loaded), {}))
    missing = [column for column in wanted if column not in known]
    if missing:
        raise PromptSourceError(f"{name}: no column {missing[0]!r}; there are {', '.join(known)}")
    for column in wanted:
        _check_plain(loaded.features.get(column) if loaded.features else None, column, name)
    chosen = loaded.select_columns(wanted)
    taken = chosen if limit is None else chosen.take(limit)
    values = [[_without_mark(row[column]) for column in wanted] for row in taken]
    rows = pd.DataFrame(values, columns=wanted, dtype=object)
    classes = class_names(loaded.features.to_dict()) if loaded.features else {}
    named = {column: name_classes(rows[column], classes[column], column) for column in wanted if column in classes}
    return rows.assign(**named)


def _check_plain(feature: Any, column: str, name: str) -> None:
    """Refuse a column that `datasets` decodes, which opens the files or addresses that its rows name."""
    from datasets import ClassLabel, LargeList, List, Value

    inner = feature
    while isinstance(inner, List | LargeList):
        inner = inner.feature
    plain = isinstance(inner, ClassLabel) or (isinstance(inner, Value) and "binary" not in inner.dtype)
    if not plain and inner is not None:  # without features nothing is decoded
        kind = inner.dtype if isinstance(inner, Value) else type(inner).__name__
        raise PromptSourceError(
            f"{name}: column {column!r} is of the kind {kind!r}, but it has "
            "to hold texts, numbers, classes or lists of them; name another column"
        )


def _without_mark(value: object) -> object:
    """Remove a byte order mark, which `datasets` leaves in the first line of a text file."""
    return value.removeprefix("\ufeff") if isinstance(value, str) else value
