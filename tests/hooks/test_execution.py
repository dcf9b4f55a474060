"""The engine belongs to a run: it is made before the first step, and closed and forgotten at its end."""

import importlib.util
from collections.abc import Callable

import pytest
import torch
from kedro.framework.context import KedroContext

from rsidiff_kedro.execution.engine import ExecutionError, current_engine
from rsidiff_kedro.execution.local import LocalEngine
from rsidiff_kedro.hooks import execution
from rsidiff_kedro.hooks.execution import ExecutionHooks

Ends = Callable[[ExecutionHooks], None]


class ClosedEngine(LocalEngine):
    closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def hooks(load_context: Callable[..., KedroContext]) -> Callable[..., ExecutionHooks]:
    def made(**settings: object) -> ExecutionHooks:
        hooks = ExecutionHooks()
        hooks.after_context_created(load_context({"execution": settings}, env="test"))
        return hooks

    return made


@pytest.mark.parametrize("end", [ExecutionHooks.after_pipeline_run, ExecutionHooks.on_pipeline_error])
def test_the_engine_is_closed_at_the_end_of_a_run(hooks, monkeypatch, end: Ends) -> None:
    made = ClosedEngine()
    monkeypatch.setattr(execution, "make_engine", lambda *_: made)
    run = hooks()
    run.before_pipeline_run()
    assert current_engine() is made
    end(run)
    assert made.closed == 1
    assert current_engine() is not made


@pytest.mark.parametrize("begun", [1, 2])  # a run whose beginning another hook ends has no end of its own
def test_threads_are_set_for_the_run_alone(hooks, begun: int) -> None:
    before, other = torch.get_num_threads(), torch.get_num_threads() + 1
    run = hooks(threads=other)
    for _ in range(begun):
        run.before_pipeline_run()
    assert torch.get_num_threads() == other
    run.after_pipeline_run()
    assert torch.get_num_threads() == before


def test_ray_that_is_not_installed_ends_the_run_before_its_first_step(hooks, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExecutionError, match=r"not installed; run `pip install 'rsidiff_kedro\[ray\]'`"):
        hooks(engine="ray").before_pipeline_run()
