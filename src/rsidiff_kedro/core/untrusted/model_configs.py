"""Recognize model configurations that must not be followed: foreign code, other places, numbers that no model has."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.paths import is_hidden

_ATTENTION = ("attn_implementation", "_attn_implementation")
_OWN_ATTENTION = ("eager", "sdpa", "flex_attention")
"""Of torch and transformers themselves; others come from other packages or, without these, from the hub."""
_PLACES = ("gguf_file", "vocab", "merges", "init_inputs")
"""Entries of a tokenizer's config that have its class read the files that they name."""
_TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")
ADAPTER_FILE = "adapter_config.json"
TOKENIZER_PATTERNS = ["*.json", "*.txt", "*.model"]
"""Files of a repository on the hub that a tokenizer may read."""
_MOST_LAYERS = 1000
_LARGEST = 2**24
"""Limit of any other whole number: vocabularies have some hundred thousand entries, schedules a thousand steps."""
_LARGEST_FRACTION = 1e12
"""Limit of any other number: the base of rotary embeddings is 10^9 at most."""
_MAY_BE_INFINITE = "lambda_min_clipped"
"""Of schedulers; they save minus infinity if they clip nothing."""


def names_foreign_code(config: Any) -> bool:
    """Tell whether a configuration asks at any depth for attention that torch and transformers have not themselves.

    It may come from the hub: `owner/kernel:function`, or flash attention whose package is missing.
    """
    asked = [value for key, value in _entries(config) if key in _ATTENTION and value is not None]
    return any(value not in _OWN_ATTENTION for value in asked)


def leads_elsewhere(path: Path, config: Mapping[str, Any]) -> str | None:
    """Say what in a component's JSON file has a library load other files than the component's own; else None."""
    if path.name == ADAPTER_FILE:
        return "has the weights of another model loaded, or changes them by an adapter; remove it"
    if path.name == "tokenizer_config.json":
        files = config.get("fast_tokenizer_files", [])
        if not isinstance(files, list) or not all(isinstance(name, str) and _is_beside(name) for name in files):
            return (
                "names tokenizer files (fast_tokenizer_files) that do not lie beside it, or are hidden; "
                "remove the entry"
            )
        named = [name for name in _PLACES if config.get(name) and not isinstance(config[name], dict)]
        if named:
            return f"names files of a tokenizer ({named[0]}) in place of its own; remove the entry"
    if path.name == "special_tokens_map.json":
        others = [name for name in config if not re.search(r"_tokens?$", name)]
        if others:
            return f"holds {others[0]!r}, which is no special token, but may name other files; remove the entry"
    if path.name == "config.json":
        if config.get("transformers_weights") is not None:
            return "names another file of weights (transformers_weights); remove the entry"
        if any(key == "quantization_config" and value is not None for key, value in _entries(config)):
            return (
                "describes quantized weights (quantization_config), which are not read here; give the model with "
                "weights in float32, float16 or bfloat16"
            )
    return None


def tokenizer_leads_elsewhere(folder: Path) -> str | None:
    """Say which file of a tokenizer's folder is no JSON object, or what `leads_elsewhere` says of it; else None."""
    for path in (folder / name for name in _TOKENIZER_FILES):
        if path.is_file():
            try:
                config = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                return f"{str(path)!r} is no JSON ({reason(error, 120)}); save it again"
            problem = leads_elsewhere(path, config) if isinstance(config, dict) else "is no JSON object; save it again"
            if problem is not None:
                return f"{str(path)!r} {problem}"
    return None


def _is_beside(name: str) -> bool:
    return Path(name).name == name and not is_hidden(name)


def absurd_number(config: Any) -> str | None:
    """Return the first entry, at any depth, whose number no model has; else None.

    Such a number is not finite, or so large that the model would fill memory.
    """
    for key, value in _entries(config):
        if key == _MAY_BE_INFINITE and value == -math.inf:
            continue
        limit = _MOST_LAYERS if "layers" in key else _LARGEST
        numbers = value if isinstance(value, list) else [value]
        if any(_is_absurd(number, limit) for number in numbers):
            return f"{key} = {str(value)[:40]}"
    return None


def _is_absurd(number: Any, limit: int) -> bool:
    if isinstance(number, float):
        return not abs(number) <= _LARGEST_FRACTION  # NaN is not
    return isinstance(number, int) and abs(number) > limit


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping):
        for key, value in config.items():
            yield str(key), value
            yield from _entries(value)
    elif isinstance(config, list):
        for value in config:
            yield from _entries(value)
