"""Ways to damage a file, for hypothesis."""

import copy
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
from hypothesis import strategies as st

FACTOR = int(os.environ.get("FUZZ", "1"))
"""How many times the usual number of examples, and then other ones each time: FUZZ=10 python -m pytest tests/fuzz"""
_NUMBERS = (b"\x00" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"9" * 6, b"-1")
_SIGNS = (b"\x80", b"\n", b'"', b"\xed\xa0\x80", b"\x1b[2J")
"""What is put into a file: largest and smallest numbers, ends of lines and of texts, half a surrogate pair."""
_OTHERS = (b"", b"\x89PNG", b"PAR1", b"[" * 50_000)
_PLAIN = (None, True, -1, 0, 3, 10**30, 0.5, 1e308, float("nan"), "", "x", "../../x", "\ud800")
_VALUES = (*_PLAIN, [], {}, [1], [None], {"a": 1})
"""What is put in the place of a value in JSON."""


def examples(count: int) -> Callable[..., Any]:
    """So many examples; slow ones and large data are no failures."""
    return hypothesis.settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
    )


@st.composite
def damaged(draw: st.DrawFn, content: bytes, others: Sequence[bytes] = _OTHERS) -> bytes:
    """The content cut, with other bytes, with some more, some twice or some zero, or another file's content."""
    kind = draw(st.sampled_from(("cut", "flip", "flip", "insert", "overwrite", "repeat", "zero", "other")))
    if kind == "other":
        return draw(st.sampled_from(others))
    # The interesting parts of most formats are their beginning and their end.
    near = st.integers(0, min(200, len(content)))
    place = st.one_of(near, near.map(lambda distance: len(content) - distance), st.integers(0, len(content)))
    start = draw(place)
    if kind == "cut":
        return content[:start]
    if kind == "flip":
        result = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            result[min(draw(place), len(content) - 1)] ^= draw(st.integers(1, 255))
        return bytes(result)
    if kind in ("insert", "overwrite"):
        odd = draw(st.sampled_from(_NUMBERS + _SIGNS))
        return content[:start] + odd + content[start + (len(odd) if kind == "overwrite" else 0) :]
    length = draw(st.integers(1, 300))
    if kind == "repeat":
        return content[: start + length] + content[start:]
    return content[:start] + b"\x00" * len(content[start : start + length]) + content[start + length :]


@st.composite
def edited(draw: st.DrawFn, content: bytes) -> bytes:
    """JSON, valid still, with one value of another type or gone."""
    tree = json.loads(content)
    holder, key = draw(st.sampled_from(_places(tree)))
    here = tree = copy.deepcopy(tree)
    for part in holder:
        here = here[part]
    if draw(st.integers(0, 4)) == 0:
        del here[key]
    else:
        here[key] = draw(st.sampled_from(_VALUES))
    return json.dumps(tree).encode()


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    return [(path, key) for key in keys] + [place for key in keys for place in _places(tree[key], (*path, key))]


def damaged_json(content: bytes) -> st.SearchStrategy[bytes]:
    """JSON that is damaged, or that says something else."""
    return st.one_of(edited(content), edited(content), damaged(content))
