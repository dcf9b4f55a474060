"""Define the base class of prompt sources: settings that can be checked and that give a prompt table."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import located
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.registry import PluginError
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.untrusted.text import printable

logger = logging.getLogger(__name__)
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(?!\d)")


class PromptSourceError(InputError):
    """A source that gives no prompts; the message says why in one line and what to change."""


def tell_missing_parts(where: str, names: Iterable[str]) -> None:
    """Warn of files whose names count parts, such as train-00000-of-00003.parquet, of which some are missing."""
    found: dict[tuple[str, int], set[int]] = {}
    for name in names:
        if match := _PART.match(name):
            found.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    for (begin, count), numbers in sorted(found.items()):
        missing = sorted({*range(count)} - numbers)
        if missing:
            first = f"{begin.rpartition('/')[2]}-{missing[0]:05}-of-{count:05}"
            problem = f"{where}: {len(missing)} of {count} parts are missing ({first} first)"
            logger.warning(printable(f"{problem}; download them again, or rename the files if these are all"))


class Source(Section, ABC):
    """The settings of one kind of source, named by `kind`."""

    kind: str

    @classmethod
    def concrete(cls, value: Mapping[str, Any]) -> type[Section]:
        """Return the class that the value's `kind` names, or this one if there is no such kind."""
        from rsidiff_kedro.prompts.sources import SOURCES  # which needs this class

        try:
            found = SOURCES.load(str(value.get("kind")))
        except PluginError:
            return cls
        return found if isinstance(found, type) and issubclass(found, Source) else cls

    @abstractmethod
    def collect(self, seed: int) -> pd.DataFrame:
        """Return the prompts as a prompt table, the same for the same settings and seed.

        Raises:
            PromptSourceError: the source cannot be read.
            PromptCountError: it has fewer prompts than its settings ask for.
        """

    def check(self, seed: int) -> None:
        """Raise what `collect` would raise, before anything is spent."""
        self.collect(seed)

    def within(self, folder: Path) -> Self:
        """Return the same source with its relative paths below this folder."""
        return located(self, folder)

    def canonical(self, text: str) -> str | None:
        """Return one text for all prompts of this source that mean the same; None if it cannot tell.

        Prompts with a canonical text are compared by it alone, and never as near-duplicates.
        """
        return None

    @property
    def costs(self) -> bool:
        """Tell whether collecting costs money; such a source is not collected just to be checked."""
        return False

    @property
    def expected(self) -> int | None:
        """Return how many training prompts it gives, if the settings alone say so."""
        return None

    @property
    def expected_evaluation(self) -> int | None:
        """Return how many evaluation prompts it gives, if it separates them itself."""
        return None


def read_columns(
    rows: pd.DataFrame, column: str, category_column: str | None, where: str, name: str, category: str = ""
) -> pd.DataFrame:
    """Return a prompt table of the columns of prompts and categories, or with one category for all.

    A missing prompt becomes an empty text, which a filter drops by its rule; numbers among the categories become text.
    `where` names the file or data set in messages, `name` the source in the table.

    Raises:
        PromptSourceError: a prompt is neither a text nor missing.
    """
    texts = _filled(rows[column]).tolist()
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise PromptSourceError(
                f"{where}: column {column!r} holds {str(text)[:40]!r} ({type(rows[column].iloc[row]).__name__}) in row "
                f"{row + 1}, but a prompt is a text; name the column that holds the prompts"
            )
    categories = _filled(rows[category_column]).astype(str).tolist() if category_column else category
    return prompt_table(texts, name, categories)


def _filled(values: pd.Series) -> pd.Series:
    return values.astype(object).where(values.notna(), "")
