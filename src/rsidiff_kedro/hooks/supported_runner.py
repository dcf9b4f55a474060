"""Refuse Kedro's other runners, also in a session that is not this project's."""

import re

from rsidiff_kedro.core.errors import InputError

RUNNER = "RsiRunner"
_SEQUENTIAL = re.compile(r"SequentialRunner|None|<kedro\.runner\.sequential_runner\.SequentialRunner object .*>")


class RunnerError(InputError):
    """A runner that this project does not support."""


def refusal(name: str) -> str:
    """Say why a runner is refused."""
    return (
        f"{name} is not supported: rounds are a chain, so it would have nothing to run in parallel; leave --runner out"
    )


def check_runner(shown: str) -> None:
    """Raise RunnerError unless a run's record shows this project's runner or Kedro's sequential one.

    Args:
        shown: `run_params["runner"]`, which is all that Kedro tells a hook: `str(runner)`.
    """
    if shown != RUNNER and not _SEQUENTIAL.fullmatch(shown):
        name = re.match(r"<(?:\w+\.)*(\w+) object", shown)
        raise RunnerError(refusal(name[1] if name else shown))
