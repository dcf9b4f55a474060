"""Filters: each prompt is kept, or dropped by the first rule that it breaks."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Annotated

import pandas as pd
from pydantic import Field, StringConstraints, field_validator

from rsidiff_kedro.core.prompt_table import REJECT_COLUMNS, normalize_text
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.prompts.near_duplicates import find_near_duplicates

LONG_TEXT, CUT_TEXT = 10_000, 200
"""A dropped text of this many characters or more is cut to that many in the table of dropped prompts."""

RULES = (
    "empty",
    "unreadable",  # control, private or replacement characters
    "too_long",
    "not_text",  # too few letters
    "markup",
    "too_short",
    "blocked_word",
    "duplicate",
    "near_duplicate",
    "near_duplicate_of_evaluation",  # equal ones too: contamination
)
_MARKUP = re.compile(r"https?://\S|www\.\w|</?[a-z][^<>]*>|(?<!\S)--[a-z]", re.IGNORECASE)
"""A web address, a tag, a switch."""


class FilterSettings(Section):
    """What a prompt must be.

    Attributes:
        min_words: at least this many words, as blanks part them.
        min_letter_share: at least this share of the characters, spaces aside, are letters of any script, in [0, 1].
        allow_markup: whether a prompt may hold what is no language: web addresses, tags such as <lora:x:1>, and
            switches such as --ar 16:9.
        max_tokens: at most this many tokens; None for as many as the text encoder reads, which is the limit anyway.
        blocked_words: words or phrases that no prompt may hold, whole words in any case, whatever format characters
            (U+200B) stand in them.
        near_duplicate_threshold: Jaccard similarity of character trigrams, in (0, 1], from which two prompts count
            as the same; 1 drops only texts with the very same trigrams.
    """

    min_words: int = Field(default=2, ge=1)
    min_letter_share: float = Field(default=0.5, ge=0, le=1)
    allow_markup: bool = False
    max_tokens: int | None = Field(default=None, ge=1)
    blocked_words: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...] = ()
    near_duplicate_threshold: float = Field(default=0.9, gt=0, le=1)

    @field_validator("blocked_words")
    @classmethod
    def _seen(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_visible(word).strip() for word in words):
            raise ValueError(f"blocked_words holds a word of characters that no reader sees: {words!a}; remove it")
        return words


def filter_prompts(
    prompts: pd.DataFrame,
    settings: FilterSettings,
    count_tokens: Callable[[list[str]], list[int]],
    max_tokens: int,
    canonical: Callable[[str], str | None] = lambda text: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a prompt table into kept and dropped prompts, each in their order.

    A prompt is dropped by the first of `RULES` that it breaks. Of prompts that are the same, the first is kept, but
    one of the split "evaluation" before any other. Evaluation prompts are a benchmark: the heuristic rules not_text,
    markup, too_short and near_duplicate skip them.

    Args:
        prompts: a prompt table.
        settings: see `FilterSettings`.
        count_tokens: counts the tokens of each text for the text encoder.
        max_tokens: how many the text encoder reads, counted in the same way.
        canonical: as `Source.canonical`.

    Returns:
        The kept prompts with `n_tokens` set, and the dropped ones with `REJECT_COLUMNS`; long texts are cut there.
    """
    table = prompts.reset_index(drop=True)
    texts = table["text"].tolist()
    table["n_tokens"] = pd.Series(count_tokens(texts) if texts else [], dtype="int64")
    limit = min(max_tokens, settings.max_tokens or max_tokens)
    blocked = _blocked_pattern(settings.blocked_words)
    benchmark = settings.model_copy(update={"min_words": 1, "min_letter_share": 0.0, "allow_markup": True})
    broken = [
        _broken_rule(text, n_tokens, limit, benchmark if split == "evaluation" else settings, blocked)
        for text, n_tokens, split in zip(texts, table["n_tokens"], table["split"], strict=True)
    ]
    table["rule"] = pd.Series([rule for rule, _ in broken], dtype=str)
    table["detail"] = pd.Series([detail for _, detail in broken], dtype=str)
    _mark_duplicates(table, settings.near_duplicate_threshold, canonical)
    kept = table[table["rule"] == ""].drop(columns=["rule", "detail"])
    rejected = table[table["rule"] != ""][list(REJECT_COLUMNS)].reset_index(drop=True)
    rejected["text"] = [text if len(text) < LONG_TEXT else text[:CUT_TEXT] for text in rejected["text"]]
    return kept.reset_index(drop=True), rejected


def _blocked_pattern(words: Sequence[str]) -> re.Pattern[str] | None:
    if not words:
        return None
    return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(normalize_text(_visible(word))) for word in words)})(?!\w)")


def _visible(text: str) -> str:
    """The text without format characters, such as U+200B, which no reader sees."""
    return "".join(sign for sign in text if unicodedata.category(sign) != "Cf")


def _broken_rule(
    text: str, n_tokens: int, limit: int, settings: FilterSettings, blocked: re.Pattern[str] | None
) -> tuple[str, str]:
    """The first rule that the text alone breaks and why, or two empty texts."""
    n_words = len(text.split())
    if not n_words:
        return "empty", "no text"
    unreadable = next((sign for sign in text if _is_unreadable(sign)), None)
    if unreadable is not None:
        return "unreadable", f"holds the character U+{ord(unreadable):04X}"
    if n_tokens > limit:
        return "too_long", f"{n_tokens} tokens, {len(text)} characters; at most {limit} tokens are read"
    share = _letter_share(text)
    if share < settings.min_letter_share:
        return (
            "not_text",
            f"{share:.0%} of its characters are letters; at least {settings.min_letter_share:.0%} must be",
        )
    markup = None if settings.allow_markup else _MARKUP.search(text)
    if markup:
        return "markup", f"holds {markup.group()[:60]!r}, which is no language"
    if n_words < settings.min_words:
        return "too_short", f"{n_words} words; at least {settings.min_words} are needed"
    # A format character may stand within a word or between two, as U+200B does in Thai.
    readings = (normalize_text(_visible(text)), normalize_text(text))
    word = blocked.search(readings[0]) or blocked.search(readings[1]) if blocked else None
    return ("blocked_word", f"holds {word.group()!r}") if word else ("", "")


def _letter_share(text: str) -> float:
    """Of the characters that are no spaces; marks, such as vowels of Hindi and Thai, belong to letters."""
    signs = [sign for sign in text if not sign.isspace()]
    return sum(unicodedata.category(sign)[0] in "LM" for sign in signs) / len(signs)


def _is_unreadable(sign: str) -> bool:
    return sign == "\ufffd" or (unicodedata.category(sign) in ("Cc", "Co", "Cs") and not sign.isspace())


def _mark_duplicates(table: pd.DataFrame, threshold: float, canonical: Callable[[str], str | None]) -> None:
    """Fill in `rule` and `detail` of rows that say what another row says."""
    left = table[table["rule"] == ""]
    left = left.sort_values("split", key=lambda split: split != "evaluation", kind="stable")
    meanings = [canonical(text) for text in left["text"]]
    keys = pd.Series([same or prompt for same, prompt in zip(meanings, left["prompt_id"], strict=True)], left.index)
    first = keys.drop_duplicates()
    holders = pd.Series(first.index, index=first.array)
    for row in keys.index[keys.duplicated()]:
        _mark(table, row, holders[keys[row]], "duplicate", "says the same as")
    if first.empty:
        return
    texts = [normalize_text(text) for text in table.loc[first.index, "text"]]
    understood = pd.Series([meaning is not None for meaning in meanings], left.index)[first.index]
    held_out = table.loc[first.index, "split"] == "evaluation"
    twins = find_near_duplicates(texts, threshold, [understood.tolist(), held_out.tolist()])
    for row, twin in zip(first.index, twins, strict=True):
        if twin != -1:
            _mark(table, row, first.index[twin], "near_duplicate", "nearly the same as")


def _mark(table: pd.DataFrame, row: int, other: int, rule: str, says: str) -> None:
    across = table.at[other, "split"] == "evaluation" and table.at[row, "split"] != "evaluation"
    name = f"{table.at[other, 'prompt_id']} ({table.at[other, 'text'][:60]!r})"
    table.at[row, "rule"] = "near_duplicate_of_evaluation" if across else rule
    table.at[row, "detail"] = f"{says} {name}"
