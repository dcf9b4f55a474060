"""Find pages of a file that were never written, as after a crash or a download that was not finished."""

import numpy as np

PAGE = 4096
"""Bytes that file systems write at once; a lost page holds zeros at the file's full length."""
_LAST = 512
"""Zeros at a file's end that are a lost page, and not padding."""
_NEAR = 8
"""Bytes beside a run that say where it ends. Zeros of an image end anywhere, those of lost pages at a page."""


def find_lost_pages(content: bytes) -> tuple[int, int] | None:
    """Return where the first lost pages start and end in bytes; None if there are none.

    Zeros count where they fill pages exactly. The black part of an image without compression also has thousands of
    zeros, but hardly ever from the start of one page to the end of another.
    """
    values = np.frombuffer(content, np.uint8)
    whole = values[: len(values) // PAGE * PAGE].reshape(-1, PAGE)
    rest = values[whole.size :]
    is_empty = np.concatenate([[False], ~whole.any(axis=1), [len(rest) >= _LAST and not rest.any()], [False]])
    edges = np.flatnonzero(np.diff(is_empty)).reshape(-1, 2) * PAGE
    for start, end in edges.tolist():
        before, after = values[max(0, start - _NEAR) : start], values[end : end + _NEAR]
        at_end = end >= len(values) or not values[end:].any()
        if before.any() and (at_end or after.any()):
            return start, len(values) if at_end else end
    return None
