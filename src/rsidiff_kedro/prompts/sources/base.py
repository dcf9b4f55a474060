"""What every source of prompts is: settings that can be checked, and that give a prompt table."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import pandas as pd
from pydantic import BaseModel, ConfigDict

from rsidiff_kedro.errors import InputError


class PromptSourceError(InputError):
    """A source gives no prompts; the message says why in one line and what to change."""


class Source(BaseModel, ABC):
    """The settings of one kind of source, which a field `kind` names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @abstractmethod
    def collect(self, seed: int) -> pd.DataFrame:
        """The prompts as a prompt table, the same for the same settings and seed.

        Raises:
            PromptSourceError: the source cannot be read.
            PromptCountError: it has fewer prompts than its settings ask for.
        """

    def check(self, seed: int) -> None:
        """Find out before anything is spent whether `collect` will succeed; raises what `collect` raises."""
        self.collect(seed)

    def within(self, folder: Path) -> Self:
        """The same source with its relative paths taken from this folder."""
        return self

    @property
    def costs(self) -> bool:
        """Whether collecting costs money, so that prompts are not collected only to be checked."""
        return False

    @property
    def expected(self) -> int | None:
        """How many prompts it gives, where the settings alone say so."""
        return None


def plain_texts(values: pd.Series, where: str, column: str) -> list[str]:
    """A column's values as texts; what is missing is an empty text, which a filter drops by its rule.

    Args:
        values: one a prompt.
        where: the file or data set, for the message.
        column: the column's name, for the message.

    Raises:
        PromptSourceError: a value is neither a text nor missing.
    """
    texts = [_as_text(value) for value in values]
    wrong = next((row for row, text in enumerate(texts) if text is None), None)
    if wrong is not None:
        value = values.iloc[wrong]
        raise PromptSourceError(
            f"{where}: column {column!r} holds {str(value)[:40]!r} ({type(value).__name__}) in row {wrong + 1}, but a "
            "prompt is a text; name the column that holds the prompts"
        )
    return [text or "" for text in texts]


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else None


def labels(values: pd.Series) -> list[str]:
    """A column's values as categories: texts or numbers as text, and an empty text for what is missing."""
    return values.astype(object).where(values.notna(), "").astype(str).tolist()
