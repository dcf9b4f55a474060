"""What a node leaves in reference cycles is freed when it ends; what lived before the run is freed after it."""

import gc
import weakref

import pytest

from rsidiff_kedro.hooks.memory import MemoryHooks


class Network:
    """Refers to itself, as networks do by their hooks."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize("end", [MemoryHooks.after_pipeline_run, MemoryHooks.on_pipeline_error])
def test_a_network_is_freed_after_its_node_and_one_from_before_the_run_after_the_run(end) -> None:
    hooks = MemoryHooks()
    before = Network()
    old = weakref.ref(before)
    hooks.before_pipeline_run()
    assert gc.get_freeze_count() > 0
    new = weakref.ref(Network())
    del before
    hooks.after_node_run()
    assert (new(), old() is None) == (None, False)
    end(hooks)
    gc.collect()
    assert old() is None
    assert gc.get_freeze_count() == 0
