"""Make foreign texts fit to be shown: one line, no control of the terminal, no credentials, no paths."""

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

_OF_SERVER = re.compile(
    r"""(?i)(?<![\w+.-])((?!(?:\w+\+)?(?:https?|s3[an]?|gs|oss|hf|az|abfss?|(?:web)?hdfs|viewfs|nfs|smb|ssh|s?ftps?|docker|mlflow-artifacts)://)[a-z][\w+.-]*://)
        (?!\[)[^/?#\s:@]*:[^\s'"<>]{0,300}@  # of a database or queue: a password may begin as a port does""",
    re.VERBOSE,
)
_IN_ADDRESS = re.compile(
    r"""(?<=://)(?:
        (?![^/?#\s:@]*:\d*[/?#])                 # host:80/ is no user and password
        (?!\[)[^/?#\s:@]*:[^\s'"<>]{0,300}       # which may hold /, ? and #
        |[^/?#\s]*
    )@""",
    re.VERBOSE,
)
_ADDRESS = re.compile(r"(?<=\w)://[^\s'\"<>]+")
_SECRETS = r"""(?:
    [\w.-]*(?:password|passwd|pwd|passphrase|secret|signature|credential|odbc_connect)
    |[\w.-]*(?:access|api|private|secret|subscription)[_-]?key
    |[\w.-]*(?:access|api|auth|bearer|hf|id|private|refresh|security|session)[_-]?token
)"""
_IN_QUERY = re.compile(
    rf"""(?i)(?<=[?&\#])
        (?!(?:\w+[_-])?(?:max|min|next|page|sort|order|group|sync|continuation|num|pad|eos|bos|partition|primary|foreign|image
        |file|shard|caption|text|prompt|column|row|cache|object)[_-]?(?:token|key)=)
        ((?:{_SECRETS}|(?:[\w.-]*[_.-])?(?:token|key)|sig)=)[^&]+""",
    re.VERBOSE,
)
_IN_TEXT = re.compile(
    rf"""(?i)(?<=[?&])({_SECRETS}=|(?:key|token|sig)=(?=[^&\s'"<>]{{8}}))[^&\s'"<>]+""",
    re.VERBOSE,
)
"""Secrets in the end of an address, as error messages quote it without its host."""
_KEYS = re.compile(r"(?<![A-Za-z0-9])(?:sk-(?=[\w-]*\d)[\w-]{16,}|hf_[A-Za-z0-9]{20,})")
"""Keys of OpenAI-compatible endpoints and tokens of Hugging Face."""

_NO = r"""'"`<>|,;:()\[\]{}"""
_NOT_WITHIN = r"(?<![\w./~\\<])"
_SHARED = r"(?i:(?:[a-z]\w*\+)?(?:https?|s3[an]?|gs|gcs|hf|az|abfss?)://)"
"""Of addresses that mean the same on every machine."""
_STARTS = (
    rf"(?!{_SHARED})[A-Za-z][\w+.-]{{1,20}}://+",  # sqlite:////home, smb://server
    r"file:/+",
    r"~(?:[^\W\d][\w.-]*)?[/\\]",  # a user's name begins with no digit: ~3/4
    r"\$(?:\{[^\s}/\\{]+\}|[A-Za-z_]\w*)[/\\]+",
    r"%\w+%[/\\]+",
    r"(?:\.[/\\]+)*\.\.[/\\]+",
    rf"(?<![^\s={_NO}])(?:[^\s=/\\{_NO}]+[/\\]+)+\.\.[/\\]+",  # data/../../else
    r"[A-Za-z]:[/\\]+",
    r"\\\\+",
    r"(?<!:)//+",
    r"/(?!/)(?=[^{}/\\]+[/\\]+[^\s/\\])",
)
_START = rf"(?:{'|'.join(_STARTS)})(?=[^\s/\\])"
"""Of a path that is absolute, below a home folder or a variable, that goes up, of Windows, of a server, in an address.

An absolute one has at least two names, without some characters in the first: of `/40` nothing could be left out.
"""
_START_WITHIN = _START.replace("{}", _NO)
_REST = rf"[^\s{_NO}]*(?:(?: +(?!{_START_WITHIN})[^\s{_NO}=/\\~]+)+[/\\][^\s{_NO}]*)*"
"""Of a path within a text; words that a slash follows belong to it, unless another path begins there."""
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
    text = _IN_ADDRESS.sub("***@", _OF_SERVER.sub(r"\1***@", text))
    text = _ADDRESS.sub(lambda found: _IN_QUERY.sub(r"\1***", found[0]), text)
    return _KEYS.sub("***", _IN_TEXT.sub(r"\1***", text))


def shown_address(address: str) -> str:
    """Replace the user, the password and the query of a server's address by `***`, also where they hold `/`, `?`, `#`.

    All up to the last `@` is taken for a user and a password, and nothing is left where that may be one of the query.
    A file's address stays.
    """
    scheme, mark, rest = address.partition("://") if "://" in address else ("", "", address)
    if scheme in ("sqlite", "file") or (not scheme and rest.startswith(("/", ".", "~"))):
        return address
    secret, at, place = rest.rpartition("@")
    if "?" in secret:
        return f"{scheme}{mark}***"
    shown = re.split("[?#]", place)[0]
    return f"{scheme}{mark}{'***@' if at else ''}{shown}{'?***' if shown != place else ''}"


def holds_credential(text: str) -> bool:
    """Tell whether `without_credentials` would change the text."""
    return without_credentials(text) != text


def without_places(text: str) -> str:
    """Replace each path that tells where files of this machine lie by its last name.

    These are absolute paths of two names or more, those below `~` or a variable, that go up (`..`), of Windows, and
    addresses other than of the web and of buckets. A text that begins with one is one, also between quotes.
    """
    if _PLACE.fullmatch(text):
        return _last_name(text)
    return _WITHIN.sub(lambda path: _last_name(path[0]), _QUOTED.sub(_quoted_without_places, text))


def tree_without_places(value: Any) -> Any:
    """Return texts, paths and trees of texts, which settings are, `without_places`; all else stays."""
    if isinstance(value, str | PurePath):
        return without_places(str(value))
    if isinstance(value, Mapping):
        return {key: tree_without_places(part) for key, part in value.items()}
    return [*map(tree_without_places, value)] if isinstance(value, list | tuple) else value


def _quoted_without_places(found: re.Match[str]) -> str:
    quote, text = found[1], found[0][1:-1]
    if _PLACE.fullmatch(text):
        return f"{quote}{_last_name(text)}{quote}"
    return _IN_QUOTES.sub(lambda path: _last_name(path[0]), found[0])


def _last_name(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1]
