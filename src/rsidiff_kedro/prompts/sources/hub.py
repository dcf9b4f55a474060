"""Read prompts from a Hugging Face data set."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from rsidiff_kedro.core.hub import name_commit, pinned
from rsidiff_kedro.core.locations import Location
from rsidiff_kedro.core.untrusted.tables import TableError
from rsidiff_kedro.core.untrusted.text import without_credentials
from rsidiff_kedro.prompts.sources.source import PromptSourceError, Source, read_columns


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
        limit: number of first rows; None for all. Files after these rows are not downloaded.
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
        from rsidiff_kedro.prompts.sources.data_set_rows import read_opened

        wanted = [*dict.fromkeys(column for column in (self.column, self.category_column) if column is not None)]
        try:
            loaded = open_data_set(
                self.dataset, wanted, self._is_folder, self.config_name, self.split, revision, self.limit
            )
            is_table = isinstance(loaded, pd.DataFrame)
            rows = loaded if is_table else read_opened(loaded, wanted, self.limit, self.dataset)
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
