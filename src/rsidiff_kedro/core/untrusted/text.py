"""Texts that somebody else wrote, made fit to be shown: one line, nothing that steers a terminal, no credential."""

import re

_IN_ADDRESS = re.compile(r"(?<=://)[^/?#\s]*@")
_KEYS = re.compile(r"(?<![A-Za-z0-9])(?:sk-(?=[\w-]*\d)[\w-]{16,}|hf_[A-Za-z0-9]{20,})")
"""What keys of OpenAI-compatible endpoints and tokens of Hugging Face begin with."""


def printable(text: str) -> str:
    r"""The text in one line, with signs that are not shown as themselves written out: `\x1b`, `\u202e`."""
    line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)


def without_credentials(text: str) -> str:
    """The text with `***` for users and passwords in addresses, and for what looks like a key."""
    return _KEYS.sub("***", _IN_ADDRESS.sub("***@", text))


def holds_credential(text: str) -> bool:
    """Whether `without_credentials` would change the text."""
    return without_credentials(text) != text
