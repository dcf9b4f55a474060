"""Say which characters words are made of, in every script, and which of a text's characters a reader sees."""

import sys
import unicodedata
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


@cache
def word_characters() -> str:
    r"""Return the inside of a regular expression's class of the characters of words.

    These are letters and digits, and marks, with which Hindi, Thai and other scripts write vowels and tones. `\w` has
    no marks. It has `_`, which parts words, as in the tag `red_fox`, and letters that nothing is drawn for. Marks that
    enclose a character, as a keycap does, are not part of a word either.
    """
    characters = map(chr, range(sys.maxunicode + 1))
    found = [ord(each) for each in characters if each not in _IGNORABLE and (each.isalnum() or is_mark(each))]
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
