"""What a model's configuration can say that would have a library run code of somebody else."""

import re
from collections.abc import Mapping
from typing import Any

_ATTENTION = ("attn_implementation", "_attn_implementation")
_OWN = re.compile(r"\w+")


def names_foreign_code(config: Any) -> bool:
    """Whether a configuration asks transformers for a kernel from the hub, `owner/kernel:function`, at any depth."""
    if isinstance(config, list):
        return any(names_foreign_code(value) for value in config)
    if not isinstance(config, Mapping):
        return False
    asked = [config[key] for key in _ATTENTION if config.get(key) is not None]
    foreign = any(not isinstance(value, str) or not _OWN.fullmatch(value) for value in asked)
    return foreign or any(names_foreign_code(value) for value in config.values())
