"""Make foreign texts fit to be shown: one line, no control of the terminal, no credentials, no paths."""

import re

_IN_ADDRESS = re.compile(r"(?<=://)[^/?#\s]*@")
_KEYS = re.compile(r"(?<![A-Za-z0-9])(?:sk-(?=[\w-]*\d)[\w-]{16,}|hf_[A-Za-z0-9]{20,})")
"""Keys of OpenAI-compatible endpoints and tokens of Hugging Face."""

_NO = r"""'"`<>|,;:()\[\]{}"""
_NOT_WITHIN = r"(?<![\w./~\\<])"
_START = r"(?:file:/+|~[\w.-]*[/\\]|[A-Za-z]:[/\\]+|\\\\+|(?<!:)//+|/(?!/)(?=[^{}/\\]+[/\\]+[^\s/\\]))(?=[^\s/\\])"
"""Of a path that is absolute, below a home folder, of Windows or of a server, or in an address of a file.

An absolute one has at least two names, without some characters in the first: of `/40` nothing could be left out.
"""
_START_WITHIN = _START.replace("{}", _NO)
_REST = rf"[^\s{_NO}]*(?: [^{_NO}=/\\~]*[^\s{_NO}=/\\~][/\\][^\s{_NO}]*)*"
"""Of a path within a text; words that a slash follows belong to it."""
_PLACE = re.compile(_START.replace("{}", "") + r".*", re.DOTALL)
_WITHIN = re.compile(_NOT_WITHIN + _START_WITHIN + _REST)
_IN_QUOTES = re.compile(rf"{_NOT_WITHIN}{_START_WITHIN}[^{_NO}]*")
_QUOTED = re.compile(r"""(?<!\w)(['"])(?:(?!\1).)*\1""", re.DOTALL)


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


def without_places(text: str) -> str:
    """Replace each path that tells where files of this machine lie by its last name.

    These are absolute paths of two names or more, those below `~`, of Windows, and addresses `file://`; a text that
    begins with one is one.
    """
    if _PLACE.fullmatch(text):
        return _last_name(text)
    quoted = _QUOTED.sub(lambda found: _IN_QUOTES.sub(lambda path: _last_name(path[0]), found[0]), text)
    return _WITHIN.sub(lambda path: _last_name(path[0]), quoted)


def _last_name(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]
