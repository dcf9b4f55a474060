"""Prompts of a Hugging Face data set."""

import os
from pathlib import Path
from typing import Literal, Self

import huggingface_hub
import pandas as pd
from pydantic import Field, model_validator

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.untrusted.text import without_credentials
from rsidiff_kedro.prompts.sources.source import PromptSourceError, Source, labels, plain_texts


class HubSource(Source):
    """One column of a data set on the Hugging Face hub, or in a local folder that `datasets` reads.

    No code of a data set is ever run. With HF_HUB_OFFLINE=1 only what lies in the local cache is read.

    Attributes:
        dataset: id on the hub, such as nateraw/parti-prompts, or a folder.
        revision: commit or tag of a data set on the hub, so that a rerun reads the same prompts; `main` is the newest.
        config_name: of a data set with several configurations.
        split: of the data set; all of it goes through this project's own split.
        column: the column that holds the prompts.
        category_column: the column of categories; None for no categories.
        limit: so many first rows, streamed in place of a whole download unless HF_HUB_OFFLINE is set; None for all.
    """

    kind: Literal["hub"] = "hub"
    dataset: str = Field(min_length=1)
    revision: str | None = None
    config_name: str | None = None
    split: str = "train"
    column: str = "text"
    category_column: str | None = None
    limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.revision is None and not _is_folder_name(self.dataset):
            raise ValueError(
                f"revision of {self.dataset!r} is not given; give a commit or tag of the data set, so that a rerun "
                "reads the same prompts (main is whatever is newest)"
            )
        return self

    def within(self, folder: Path) -> Self:
        """A folder's relative path taken from this folder."""
        if not _is_folder_name(self.dataset):
            return self
        return self.model_copy(update={"dataset": str(folder / os.path.expanduser(self.dataset))})

    def collect(self, seed: int) -> pd.DataFrame:
        """The split's prompts in their order."""
        rows = _load(self)
        texts = plain_texts(rows[self.column], self.dataset, self.column)
        categories = labels(rows[self.category_column]) if self.category_column else ""
        return prompt_table(texts, self.dataset, categories)


def _is_folder_name(name: str) -> bool:
    return name.startswith((".", "/", "~"))


def _load(source: HubSource) -> pd.DataFrame:
    """The rows of the columns that are asked for."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise PromptSourceError(
            "prompt_curation.source: the kind hub needs the package datasets; pip install datasets"
        ) from None
    offline = huggingface_hub.constants.HF_HUB_OFFLINE  # then nothing can be streamed, but the cache may have it all
    try:
        loaded = datasets.load_dataset(
            source.dataset,
            source.config_name,
            split=source.split,
            revision=source.revision,
            streaming=source.limit is not None and not offline,
        )
        known = loaded.column_names or list(next(iter(loaded), {}))
        wanted = [column for column in (source.column, source.category_column) if column]
        missing = [column for column in wanted if column not in known]
        if missing:
            raise PromptSourceError(f"{source.dataset}: no column {missing[0]!r}; there are {', '.join(known)}")
        chosen = loaded.select_columns(wanted)
        rows = pd.DataFrame(list(chosen if source.limit is None else chosen.take(source.limit)), columns=wanted)
    except PromptSourceError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # what datasets and the hub's client raise derives from these
        reason = " ".join(without_credentials(str(error)).split())[:300]
        raise PromptSourceError(
            f"{source.dataset}: the data set cannot be read ({reason}); check its id, "
            f"revision {source.revision!r}, config_name and split {source.split!r}, or give a local folder"
        ) from None
    if rows.empty:
        raise PromptSourceError(f"{source.dataset}: split {source.split!r} holds no row; name another")
    return rows
