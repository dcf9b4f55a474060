"""What a node leaves in reference cycles is freed when it ends; what lived before the run is freed after it."""

import gc
import weakref
from collections.abc import Iterator

import pytest
from torch import nn

from rsidiff_kedro.hooks.memory import MemoryHooks


@pytest.fixture(autouse=True)
def only_what_the_hooks_collect() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def network() -> nn.Module:
    """Return a network that refers to itself, as many do by their hooks."""
    made = nn.Sequential(nn.Linear(1, 1))
    made.itself = [made]
    return made


@pytest.mark.parametrize("end", [MemoryHooks.after_pipeline_run, MemoryHooks.on_pipeline_error])
def test_a_network_is_freed_after_its_node_and_one_from_before_the_run_after_the_run(end) -> None:
    hooks = MemoryHooks()
    before = network()
    old = weakref.ref(before)
    hooks.before_pipeline_run()
    assert gc.get_freeze_count() > 0
    hooks.before_node_run()
    new = weakref.ref(network())
    del before
    hooks.after_node_run()
    assert (new(), old() is None) == (None, False)
    end(hooks)
    gc.collect()
    assert old() is None
    assert gc.get_freeze_count() == 0


def test_a_node_without_networks_is_not_followed_by_a_collection() -> None:
    hooks = MemoryHooks()
    hooks.before_pipeline_run()
    hooks.before_node_run()
    collections = gc.get_stats()[2]["collections"]
    hooks.after_node_run()
    assert gc.get_stats()[2]["collections"] == collections
    network()
    hooks.after_node_run()
    hooks.after_node_run()
    assert gc.get_stats()[2]["collections"] == collections + 1
    hooks.after_pipeline_run()
