"""Write the command and the parameters of a run in HTML, each path that tells of this machine in an element of its own.

A copy of the report for others replaces such a path by its last name, which it cannot find within a sentence: a folder
may be named `Acme, Inc. (was Bob's)`.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from rsidiff_kedro.core.untrusted.text import without_places

_ASSIGNED = re.compile(r"((?:^|,)\s*[\w.:-]+=(?:[\w.:-]+=)?\s*)")
"""Of a word of a command, what comes before a value: `--params=a.b=`, `,c=`."""


def command_html(words: Sequence[str]) -> Markup:
    """Return a command of these words, quoted as a shell reads them."""
    return Markup(" ").join(map(_word, words))


def _word(word: str) -> Markup:
    quoted = shlex.quote(word)
    mark = "'" if quoted != word else ""
    inner = quoted[len(mark) : len(quoted) - len(mark)]
    return Markup("{0}{1}{0}").format(mark, Markup().join(map(_part, _ASSIGNED.split(inner))))


def value_html(value: Any) -> Markup:
    """Return a parameter's value as Python writes it; a text at the top without quotes."""
    return _part(value) if isinstance(value, str) else _value(value)


def _value(value: Any) -> Markup:
    if isinstance(value, Mapping):
        parts = [Markup("{}: {}").format(_value(key), _value(part)) for key, part in value.items()]
        return Markup("{{{}}}").format(Markup(", ").join(parts))
    if isinstance(value, list | tuple):
        return Markup("[{}]").format(Markup(", ").join(map(_value, value)))
    text = repr(value)
    if isinstance(value, str):
        return Markup("{0}{1}{0}").format(text[0], _part(text[1:-1]))
    return escape(text)


def _part(text: str) -> Markup:
    return escape(text) if without_places(text) == text else Markup("<span>{}</span>").format(text)
