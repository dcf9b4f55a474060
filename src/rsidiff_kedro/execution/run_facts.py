"""Facts that a report states about its run, beyond the results.

None of it is an input of a step: a run's id or the time that a stage took changes no result.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from rsidiff_kedro.core.files import VERSION


class Change(NamedTuple):
    """A parameter that this run set, and the value that the configuration gives it otherwise."""

    value: Any
    configured: Any


@dataclass(frozen=True)
class RunFacts:
    """Facts of a run; a report leaves out those that are empty.

    Attributes:
        run_id: also the version of what the run made.
        command: its words, as they were typed.
        environment: of the configuration.
        changed: what `--params` and conf/local set, by the parameter's path.
        versions: of this package, Python and the libraries that compute.
        seconds: that each stage took when it made what the report shows, in the method's order.
        adapters: the folder of each round's adapter.
    """

    run_id: str = ""
    command: Sequence[str] = ()
    environment: str = ""
    changed: Mapping[str, Change] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    adapters: Mapping[int, str] = field(default_factory=dict)

    @property
    def adapter_places(self) -> dict[int, str]:
        """Return the folder of each adapter, or of its versions, which differ between runs that make the same."""
        return {number: _without_version(Path(folder)).as_posix() for number, folder in self.adapters.items()}


def _without_version(folder: Path) -> Path:
    return folder.parents[1] if VERSION.fullmatch(folder.parent.name) else folder


_current: ContextVar[RunFacts | None] = ContextVar("run_facts", default=None)


def set_run_facts(facts: RunFacts | None) -> None:
    """Set the facts of the run that is active; None: no run is."""
    _current.set(facts)


def run_facts() -> RunFacts:
    """Return the facts of the active run; empty outside a run."""
    return _current.get() or RunFacts()
