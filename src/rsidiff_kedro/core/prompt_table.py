"""Build prompt tables: one row per prompt, with the same columns from collection to the rounds."""

import hashlib
import unicodedata
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from rsidiff_kedro.core.errors import InputError

PROMPT_COLUMNS = ("prompt_id", "text", "source", "category", "split", "round", "n_tokens")
"""`split` is "", "evaluation", "pool", "validation" or "test"; `round` and `n_tokens` are 0 until they are known."""

REJECT_COLUMNS = (*PROMPT_COLUMNS, "rule", "detail")
"""Columns of dropped prompts: `rule` names the filter that dropped each, `detail` explains why."""

Embed = Callable[[Sequence[str]], np.ndarray]
"""Describes prompts [n] by vectors [n, d]."""


class PromptCountError(InputError):
    """Too few prompts; the message says how many there are and what to raise."""


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
