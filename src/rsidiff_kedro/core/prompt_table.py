"""Build prompt tables: one row per prompt, with the same columns from collection to the rounds."""

import hashlib
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from rsidiff_kedro.core.errors import InputError

PROMPT_COLUMNS = ("prompt_id", "text", "source", "category", "split", "round", "n_tokens")
"""`split` is "", "evaluation" or "pool" until prompts are split, then "pool", "validation" or "test"; `round` and
`n_tokens` are 0 until they are known."""
TEXT_COLUMNS = PROMPT_COLUMNS[:5]
"""Those that hold a text in every row, empty where nothing is known."""

REJECT_COLUMNS = (*PROMPT_COLUMNS, "rule", "detail")
"""Columns of dropped prompts: `rule` names the filter that dropped each, `detail` explains why."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Describes prompts [n] by vectors [n, d]."""


class PromptCountError(InputError):
    """Too few prompts; the message says how many there are and what to raise."""


class PromptTableError(InputError):
    """A table that lacks a column of `PROMPT_COLUMNS`, or holds something else where a text belongs."""


def normalize_text(text: str) -> str:
    """Return the form in which prompts are compared: NFKC, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_id(text: str) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of the normalized text."""
    return hashlib.sha256(normalize_text(text).encode()).hexdigest()[:12]


def writable(text: str) -> str:
    """Replace lone surrogates by U+FFFD: JSON and file names can have them, but no file can hold them."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def prompt_table(
    texts: Sequence[str], source: str, category: Sequence[str] | str = "", split: str = ""
) -> pd.DataFrame:
    """Return a table with `PROMPT_COLUMNS` of these texts, stripped and made `writable`, in their order."""
    clean = [writable(text).strip() for text in texts]
    table = pd.DataFrame({"prompt_id": [prompt_id(text) for text in clean], "text": clean}, dtype=str)
    table["source"], table["split"] = writable(source), split
    categories = [category] * len(clean) if isinstance(category, str) else category
    table["category"] = pd.Series([writable(each) for each in categories], dtype=str)
    table["round"], table["n_tokens"] = 0, 0
    return table[list(PROMPT_COLUMNS)]


def check_prompt_table(table: pd.DataFrame, name: str, cure: str = "make it with `prompt_table`") -> None:
    """Check a table that this module did not make, or that was stored since.

    Grouping by a category leaves rows without one out, so nothing may stand for an empty text: not NaN, which some
    kinds of files give back for it, and for texts such as "None" too.

    Args:
        name: of the table in the message.
        cure: what to do, after a semicolon.

    Raises:
        PromptTableError: it is no prompt table.
    """
    missing = [column for column in PROMPT_COLUMNS if column not in table]
    if missing:
        raise PromptTableError(f"{name} lacks the column {missing[0]!r} of prompts; {cure}")
    for column in TEXT_COLUMNS:
        for row, value in enumerate(table[column].tolist()):
            if not isinstance(value, str):
                found = f"{str(value)[:40]!r} ({type(value).__name__})"
                raise PromptTableError(f"{name} holds {found} in row {row + 1} of {column!r}, not a text; {cure}")
