"""Run a part of a test as another user."""

import os
from collections.abc import Callable
from contextlib import suppress

NOBODY = 65534
FAILED = 255
"""The exit code where the part raises."""


def as_another_user(part: Callable[[], int]) -> int:
    """Return what a function returns in a process of another user, which is forked: Python may be out of its reach."""
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        code = FAILED
        with suppress(BaseException):
            code = part()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
