"""What the filters make of a set of prompts, as Markdown: counts by rule, by category and by length."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from rsidiff_kedro.prompts.filters import RULES
from rsidiff_kedro.untrusted.text import printable

SHOWN = 60
"""Characters of an example."""
BINS = 8


def filter_report(kept: pd.DataFrame, rejected: pd.DataFrame, max_tokens: int) -> str:
    """Tables of how many prompts each rule drops, with an example, of categories, and of lengths in tokens.

    Args:
        kept: what `filter_prompts` keeps.
        rejected: what it drops.
        max_tokens: how many tokens are read.
    """
    total = len(kept) + len(rejected)
    rows = [("kept", len(kept), _share(len(kept), total), "")]
    for rule in RULES:
        dropped = rejected[rejected["rule"] == rule]
        example = f"{dropped['text'].iloc[0][:SHOWN]} ({dropped['detail'].iloc[0]})" if len(dropped) else ""
        rows.append((rule, len(dropped), _share(len(dropped), total), example))
    parts = [_table(("rule", "prompts", "share", "example"), rows), _categories(kept, rejected)]
    lengths = pd.concat([kept["n_tokens"], rejected["n_tokens"]]).to_numpy()
    return "\n\n".join([part for part in parts if part] + [_histogram(lengths, max_tokens)]) + "\n"


def _categories(kept: pd.DataFrame, rejected: pd.DataFrame) -> str:
    """Collected and kept prompts of each category; empty if there are none."""
    counts = pd.DataFrame({"kept": kept["category"].value_counts(), "dropped": rejected["category"].value_counts()})
    counts = counts.fillna(0).astype(int).sort_index()
    if set(counts.index) <= {""}:
        return ""
    rows = [(name or "none", row.kept + row.dropped, row.kept) for name, row in zip(counts.index, counts.itertuples())]
    return _table(("category", "prompts", "kept"), rows)


def _histogram(lengths: np.ndarray, max_tokens: int) -> str:
    """Prompts by their number of tokens: equal bins up to the limit, and what lies above."""
    width = max(1, -(-max_tokens // BINS))
    edges = [*range(0, max_tokens, width), max_tokens]
    rows: list[tuple[str, int, str]] = []
    for low, high in pairwise(edges):
        number = int(((lengths > low) & (lengths <= high)).sum())
        rows.append((f"{low + 1} to {high}", number, _share(number, len(lengths))))
    above = int((lengths > max_tokens).sum())
    rows.append((f"more than {max_tokens}", above, _share(above, len(lengths))))
    return _table(("tokens", "prompts", "share"), rows)


def _share(part: int, total: int) -> str:
    return f"{part / total:.1%}" if total else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    """A value in one line that cannot end its cell or be read as HTML."""
    return printable(str(value)).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
