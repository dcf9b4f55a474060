"""The prompt table: one row a prompt, the same columns from collection to the rounds."""

import hashlib
import unicodedata
from collections.abc import Sequence

import pandas as pd

from rsidiff_kedro.core.errors import InputError

PROMPT_COLUMNS = ("prompt_id", "text", "source", "category", "split", "round", "n_tokens")
"""`split` is "", "evaluation", "pool", "validation" or "test"; `round` and `n_tokens` are 0 until they are known."""

REJECT_COLUMNS = (*PROMPT_COLUMNS, "rule", "detail")
"""A table of dropped prompts: `rule` names what dropped each, `detail` says why in words."""


class PromptCountError(InputError):
    """There are too few prompts; the message says how many there are and what to raise."""


def normalize_text(text: str) -> str:
    """The text as prompts are compared by: NFKC, case folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def prompt_id(text: str) -> str:
    """12 hexadecimal digits of the SHA-256 of the normalized text."""
    return hashlib.sha256(normalize_text(text).encode()).hexdigest()[:12]


def writable(text: str) -> str:
    """The text with U+FFFD for half a surrogate pair, which JSON and names of files can have and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def prompt_table(
    texts: Sequence[str], source: str, category: Sequence[str] | str = "", split: str = ""
) -> pd.DataFrame:
    """A table with `PROMPT_COLUMNS` of these texts, in their order.

    Prompts are stripped; what no file can hold in any of the texts is replaced, see `writable`.
    """
    clean = [writable(text).strip() for text in texts]
    table = pd.DataFrame({"prompt_id": [prompt_id(text) for text in clean], "text": clean}, dtype=str)
    table["source"], table["split"] = writable(source), split
    categories = [category] * len(clean) if isinstance(category, str) else category
    table["category"] = pd.Series([writable(each) for each in categories], dtype=str)
    table["round"], table["n_tokens"] = 0, 0
    return table[list(PROMPT_COLUMNS)]
