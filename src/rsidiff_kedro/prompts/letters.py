"""Say which signs words are made of, in every script."""

import sys
import unicodedata
from functools import cache


@cache
def word_signs() -> str:
    r"""Return what a class of signs of words holds in a regular expression: `\w`, and marks.

    Python leaves marks out, of which Hindi, Thai and other scripts make vowels and tones.
    """
    signs = map(chr, range(sys.maxunicode + 1))
    return r"\w" + "".join(sign for sign in signs if unicodedata.category(sign)[0] == "M")
