"""Recognize model configurations that must not be followed: foreign code, and sizes that no model has."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_ATTENTION = ("attn_implementation", "_attn_implementation")
_MOST_LAYERS = 1000
_LARGEST = 2**24
"""Limit of any other whole number: vocabularies have some hundred thousand entries, schedules a thousand steps."""


def names_foreign_code(config: Any) -> bool:
    """Tell whether a configuration asks at any depth for an attention kernel from the hub, `owner/kernel:function`."""
    asked = [value for key, value in _entries(config) if key in _ATTENTION and value is not None]
    return any(not isinstance(value, str) or not re.fullmatch(r"\w+", value) for value in asked)


def absurd_size(config: Any) -> str | None:
    """Return the first entry, at any depth, whose number is so large that the model would fill memory; else None."""
    for key, value in _entries(config):
        limit = _MOST_LAYERS if "layers" in key else _LARGEST
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(number, int) and abs(number) > limit for number in numbers):
            return f"{key} = {str(value)[:40]}"
    return None


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield str(key), value
            yield from _entries(value)
    elif isinstance(config, list):
        for value in config:
            yield from _entries(value)
