"""Progress bars of long steps, which begin with the place of the step in its run, such as "round 2/6"."""

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from tqdm import tqdm

_place: ContextVar[str] = ContextVar("place", default="")


def set_place(place: str) -> None:
    """Set what the bars of the following steps begin with; empty outside rounds."""
    _place.set(place)


def progress_bar(title: str, steps: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Return tqdm's bar with this title after the place of the step."""
    return tqdm(steps, desc=": ".join(filter(None, (_place.get(), title))), **options)
