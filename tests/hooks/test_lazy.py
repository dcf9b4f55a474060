"""Hooks are imported when the first session begins, without looking for garbage meanwhile."""

import gc

import pytest

from rsidiff_kedro.hooks import lazy
from rsidiff_kedro.hooks.lazy import LazyHooks


@pytest.mark.parametrize("was_enabled", [True, False])
def test_garbage_is_not_looked_for_during_the_import_and_then_as_before(monkeypatch, was_enabled) -> None:
    enabled = []
    monkeypatch.setattr(lazy, "load_obj", lambda path: lambda: enabled.append(gc.isenabled()))
    before = gc.isenabled()
    try:
        gc.enable() if was_enabled else gc.disable()
        assert list(LazyHooks(["a.A", "b.B"])) == [None, None]
        assert enabled == [False, False]
        assert gc.isenabled() == was_enabled
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.enable() if before else gc.disable()
