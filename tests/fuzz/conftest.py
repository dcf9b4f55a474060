"""What the fuzz tests share: how a loader may answer a damaged file, and that it answers at all."""

import faulthandler
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 900
"""Seconds that a test may take; a loader that hangs ends the whole run with where it was."""


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """Ends the process if a test does not."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def answer() -> Callable[..., Any]:
    """`answer(load, errors, folder)`: what `load` gives, or None where it refuses in one clear line.

    Any other error fails the test, and so does a file that loading has made in the folder or beside it.
    """

    def answer(load: Callable[[], Any], errors: Any, folder: Path) -> Any:
        before = _files(folder.parent)
        try:
            return load()
        except errors as error:
            message = str(error)
            assert message and "\n" not in message and message.isprintable(), message
            assert "Failed while loading data" not in message, message  # Kedro's, of an error that nobody foresaw
            return None
        finally:
            assert _files(folder.parent) == before

    return answer


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))
