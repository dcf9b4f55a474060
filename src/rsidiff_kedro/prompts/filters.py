"""Filter prompts: keep each, or drop it by the first rule that it breaks."""

import re
import unicodedata
from collections.abc import Callable, Sequence

import pandas as pd

from rsidiff_kedro.core.prompt_table import REJECT_COLUMNS, normalize_text
from rsidiff_kedro.prompts.characters import (
    KATAKANA,
    UNSPACED,
    is_mark,
    marks,
    visible,
    without_unseen_marks,
    word_characters,
)
from rsidiff_kedro.prompts.near_duplicates import find_near_duplicates
from rsidiff_kedro.prompts.settings import FilterSettings

LONG_TEXT, CUT_TEXT = 10_000, 200
"""The table of dropped prompts cuts texts of `LONG_TEXT` characters or more to `CUT_TEXT`."""

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
"""A web address, a tag or a switch."""


def filter_prompts(
    prompts: pd.DataFrame,
    settings: FilterSettings,
    lengths: Callable[[list[str]], list[tuple[int, int]]],
    canonical: Callable[[str], str | None] = lambda text: None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split a prompt table into kept and dropped prompts, each in their order.

    A prompt is dropped by the first of `RULES` that it breaks. The first of equal prompts is kept, but one of the
    split "evaluation" before any other, and one of "pool", which must not evaluate, before one of "". Evaluation
    prompts are a benchmark: the heuristic rules not_text, markup, too_short and near_duplicate skip them. Kept prompts
    have `n_tokens` set; dropped ones have `REJECT_COLUMNS`, and their long texts are cut.

    Args:
        lengths: returns the tokens of each text, and how many of them the text encoder reads at most.
        canonical: as `Source.canonical`.
    """
    table = prompts.reset_index(drop=True)
    texts = table["text"].tolist()
    counted = lengths(texts)
    table["n_tokens"] = pd.Series([n_tokens for n_tokens, _ in counted], dtype="int64")
    limits = [min(read, settings.max_tokens or read) for _, read in counted]
    pattern = _pattern(settings.blocked_words) if settings.blocked_words else None
    benchmark = settings.model_copy(update={"min_words": 1, "min_letter_share": 0.0, "allow_markup": True})
    broken = [
        _broken_rule(text, n_tokens, limit, benchmark if split == "evaluation" else settings, pattern)
        for text, n_tokens, limit, split in zip(texts, table["n_tokens"], limits, table["split"])
    ]
    table[["rule", "detail"]] = pd.DataFrame(broken, columns=["rule", "detail"], dtype=str)
    _mark_duplicates(table, settings.near_duplicate_threshold, canonical)
    kept = table[table["rule"] == ""].drop(columns=["rule", "detail"])
    rejected = table[table["rule"] != ""][list(REJECT_COLUMNS)].reset_index(drop=True)
    rejected["text"] = [text if len(text) < LONG_TEXT else text[:CUT_TEXT] for text in rejected["text"]]
    return kept.reset_index(drop=True), rejected


def _pattern(blocked_words: Sequence[str]) -> re.Pattern[str]:
    """Return what finds these words and phrases in a normalized text; their words can be parted by `_`, too.

    Beside a character of a script without spaces a word may end anywhere, but not between a letter and its mark, nor
    within a run of katakana.
    """
    inside = word_characters()
    beside = f"(?!(?<=[{KATAKANA}])[{KATAKANA}])(?:(?<=[{UNSPACED}])|(?=[{UNSPACED}]))"
    starts, ends = f"(?:(?<![{inside}])|{beside})", f"(?![{marks()}])(?:(?![{inside}])|{beside})"
    phrases = [map(re.escape, re.split(r"[\s_]+", normalize_text(visible(phrase)))) for phrase in blocked_words]
    return re.compile(f"{starts}(?:{'|'.join(map('[ _]+'.join, phrases))}){ends}")


def _broken_rule(
    text: str, n_tokens: int, limit: int, settings: FilterSettings, blocked: re.Pattern[str] | None
) -> tuple[str, str]:
    """Return the first rule that the text alone breaks and why, or two empty texts."""
    words = text.split()
    signs = "".join(words)
    seen = visible(signs)
    if not seen:
        return "empty", "no text"
    for sign in signs:
        if sign == "\ufffd" or unicodedata.category(sign) in ("Cc", "Co", "Cs"):
            return "unreadable", f"holds the character U+{ord(sign):04X}"
    if n_tokens > limit:
        return "too_long", f"{n_tokens} tokens, {len(text)} characters; at most {limit} tokens are read"
    share, least = _letters(seen) / len(seen), settings.min_letter_share
    if share < least:
        return "not_text", f"{share:.0%} of its characters are letters; at least {least:.0%} must be"
    markup = None if settings.allow_markup else _MARKUP.search(text)
    if markup:
        return "markup", f"holds {markup.group()[:60]!r}, which is no language"
    if len(words) < settings.min_words:
        return "too_short", f"{len(words)} words; at least {settings.min_words} are needed"
    # A format character can be inside a word or between two, as U+200B is in Thai.
    readings = (normalize_text(visible(text)), normalize_text(without_unseen_marks(text)))
    word = blocked.search(readings[0]) or blocked.search(readings[1]) if blocked else None
    return ("blocked_word", f"holds {word.group()!r}") if word else ("", "")


def _letters(text: str) -> int:
    """Count a text's letters, with the marks that follow one, such as vowels of Hindi and Thai."""
    count, follows = 0, False
    for sign in text:
        follows = unicodedata.category(sign)[0] == "L" or (follows and is_mark(sign))
        count += follows
    return count


def _mark_duplicates(table: pd.DataFrame, threshold: float, canonical: Callable[[str], str | None]) -> None:
    """Fill in `rule` and `detail` of rows that say the same as another row."""
    left = table[table["rule"] == ""]
    left = left.sort_values("split", key=_precedence, kind="stable")
    meanings = pd.Series([canonical(text) for text in left["text"]], left.index, dtype=object)
    keys = meanings.where(meanings.notna(), left["prompt_id"])
    first = keys.drop_duplicates()
    holders = dict(zip(first, first.index))
    repeated = keys[keys.duplicated()]
    found = [(row, holders[key], "duplicate", "says the same as") for row, key in repeated.items()]
    texts = [normalize_text(text) for text in table.loc[first.index, "text"]]
    exempt = [meanings[first.index].notna(), table.loc[first.index, "split"] == "evaluation"]
    twins = zip(first.index, find_near_duplicates(texts, threshold, exempt))
    found += [(row, first.index[twin], "near_duplicate", "nearly the same as") for row, twin in twins if twin != -1]
    _mark(table, found)


def _precedence(splits: pd.Series) -> pd.Series:
    return splits.map({"evaluation": 0, "pool": 1}).fillna(2)


def _mark(table: pd.DataFrame, found: list[tuple[int, int, str, str]]) -> None:
    """Fill in `rule` and `detail` of rows, each with the row that it repeats, the rule, and words."""
    splits, names, texts = (table[column].tolist() for column in ("split", "prompt_id", "text"))
    rules, details = table["rule"].tolist(), table["detail"].tolist()
    for row, other, rule, says in found:
        across = splits[other] == "evaluation" and splits[row] != "evaluation"
        rules[row] = "near_duplicate_of_evaluation" if across else rule
        details[row] = f"{says} {names[other]} ({texts[other][:60]!r})"
    table["rule"], table["detail"] = pd.Series(rules, dtype=str), pd.Series(details, dtype=str)
