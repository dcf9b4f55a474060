"""Say which characters words are made of, in every script, and which of a text's characters a reader sees."""

import sys
import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import chain

_IGNORABLE = frozenset(
    map(
        chr,
        chain(
            (0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
            range(0x180B, 0x1810),
            range(0x200B, 0x2010),
            range(0x202A, 0x202F),
            range(0x2060, 0x2070),
            range(0xFE00, 0xFE10),
            range(0xFFF0, 0xFFF9),
            range(0x1BCA0, 0x1BCA4),
            range(0x1D173, 0x1D17B),
            range(0xE0000, 0xE1000),
        ),
    )
)
"""Unicode's Default_Ignorable_Code_Point, which Python does not have: nothing is drawn for them."""
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\uaa80-\uaadf"
    r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
"""The inside of a regular expression's class of scripts without spaces between words.

Thai, Lao, Burmese, Khmer and the scripts of Tai languages; Japanese and Chinese.
"""
KATAKANA = r"\u30a1-\u30fa\u30fc-\u30fe\u31f0-\u31ff\uff66-\uff9f"
"""Of these, the script in which a run of characters is one word."""


@cache
def word_characters() -> str:
    r"""Return the inside of a regular expression's class of the characters of words.

    These are letters and digits, and marks, with which Hindi, Thai and other scripts write vowels and tones. `\w` has
    no marks. It has `_`, which parts words, as in the tag `red_fox`, and letters that nothing is drawn for. Marks that
    enclose a character, as a keycap does, are not part of a word either.
    """
    return _class_of(lambda sign: sign not in _IGNORABLE and (sign.isalnum() or is_mark(sign)))


@cache
def marks() -> str:
    """Return the inside of a regular expression's class of the marks that scripts write with."""
    return _class_of(is_mark)


def _class_of(holds: Callable[[str], bool]) -> str:
    found = [ord(each) for each in map(chr, range(sys.maxunicode + 1)) if holds(each)]
    starts = [code for code, before in zip(found, [-1, *found]) if code != before + 1]
    ends = [code for code, after in zip(found, [*found[1:], -1]) if code != after - 1]
    return "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))


def is_mark(sign: str) -> bool:
    """Tell whether a character is a mark that a script writes with: a vowel, a tone or an accent."""
    return unicodedata.category(sign) in ("Mn", "Mc") and sign not in _IGNORABLE


def visible(text: str) -> str:
    """Remove the characters that no reader sees: format characters, such as U+200B, and what is ignorable."""
    return "".join(sign for sign in text if unicodedata.category(sign) != "Cf" and sign not in _IGNORABLE)


def without_unseen_marks(text: str) -> str:
    """Remove the marks that no reader sees, such as U+FE0F; unlike format characters, they never part words."""
    return "".join(sign for sign in text if sign not in _IGNORABLE or unicodedata.category(sign)[0] != "M")
