"""Make foreign texts fit to be shown: one line, no control of the terminal, no credentials."""

import re

_IN_ADDRESS = re.compile(r"(?<=://)[^/?#\s]*@")
_KEYS = re.compile(r"(?<![A-Za-z0-9])(?:sk-(?=[\w-]*\d)[\w-]{16,}|hf_[A-Za-z0-9]{20,})")
"""Keys of OpenAI-compatible endpoints and tokens of Hugging Face."""


def printable(text: str) -> str:
    r"""Return the text in one line, with unprintable characters escaped: `\x1b`, `\u202e`."""
    line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def without_credentials(text: str) -> str:
    """Replace users and passwords in addresses, and anything that looks like a key, by `***`."""
    return _KEYS.sub("***", _IN_ADDRESS.sub("***@", text))


def holds_credential(text: str) -> bool:
    """Tell whether `without_credentials` would change the text."""
    return without_credentials(text) != text
