"""Say which characters words are made of, in every script."""

import sys
import unicodedata
from functools import cache


@cache
def word_characters() -> str:
    r"""Return the inside of a regular expression's class of the characters of words: `\w`, and marks.

    Python's `\w` leaves marks out, with which Hindi, Thai and other scripts write vowels and tones.
    """
    characters = map(chr, range(sys.maxunicode + 1))
    return r"\w" + "".join(each for each in characters if unicodedata.category(each)[0] == "M")


def visible(text: str) -> str:
    """Remove format characters, such as U+200B, which no reader sees."""
    return "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
