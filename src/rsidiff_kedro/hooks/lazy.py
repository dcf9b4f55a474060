"""Import the hooks when the first session begins; commands that compute nothing do not wait for torch."""

from collections.abc import Iterator, Sequence
from typing import Any

from kedro.utils import load_obj


class LazyHooks:
    """Hooks by their paths `module.Class` in this package, each made once in a process."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._made: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        if not self._made:
            self._made = [load_obj(f"{__package__}.{path}")() for path in self._paths]
        return iter(self._made)
