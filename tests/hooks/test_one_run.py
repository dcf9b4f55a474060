"""A process has one run at a time; the next one begins when that has ended, however it ended."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kedro.framework.hooks import hook_impl
from kedro.framework.hooks.manager import _create_hook_manager

from rsidiff_kedro.hooks.one_run import OneRunHooks, SecondRunError
from rsidiff_kedro.settings import HOOKS


class Others:
    """The hooks of one process, which keep the parameters of the last context."""

    def __init__(self) -> None:
        self.parameters: object = None
        self.refuse = self.fail_at_the_end = False

    @hook_impl
    def after_context_created(self, context: object) -> None:
        self.parameters = context

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self) -> None:
        if self.refuse:
            raise ValueError("refused")

    @hook_impl
    def after_pipeline_run(self) -> None:
        if self.fail_at_the_end:
            raise ValueError("the disk is full")


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def run(others: Others) -> Callable[..., None]:
    """`run(context, steps)`: run as Kedro's sessions do."""
    hooks = _create_hook_manager()
    for each in (others, OneRunHooks()):
        hooks.register(each)
    given: dict[str, Any] = {"run_params": {}, "pipeline": None, "catalog": None}

    def call(context: object, steps: Callable[[], object] = lambda: None) -> None:
        hooks.hook.after_context_created(context=context)
        hooks.hook.before_pipeline_run(**given)
        try:
            steps()
        except Exception as error:
            hooks.hook.on_pipeline_error(error=error, **given)
            raise
        hooks.hook.after_pipeline_run(run_result={}, **given)

    return call


def in_thread(call: Callable[[], None]) -> BaseException | None:
    """Return what a call in another thread raises."""
    with ThreadPoolExecutor() as pool:
        return pool.submit(call).exception(60)


def test_a_second_run_is_refused_and_changes_nothing_of_the_first(run: Callable[..., None], others: Others) -> None:
    def steps() -> None:
        error = in_thread(lambda: run("second"))
        assert isinstance(error, SecondRunError) and "\n" not in str(error)
        assert others.parameters == "first"

    run("first", steps)
    assert in_thread(lambda: run("third")) is None and others.parameters == "third"


def test_of_two_runs_that_begin_at_once_the_one_begins_whose_context_the_hooks_have(others: Others) -> None:
    hooks = _create_hook_manager()
    for each in (others, OneRunHooks()):
        hooks.register(each)
    given: dict[str, Any] = {"run_params": {}, "pipeline": None, "catalog": None}
    hooks.hook.after_context_created(context="first")
    has_context, go_on = threading.Event(), threading.Event()

    def second() -> None:
        hooks.hook.after_context_created(context="second")
        has_context.set()
        go_on.wait(60)
        hooks.hook.before_pipeline_run(**given)

    with ThreadPoolExecutor() as pool:
        begun = pool.submit(second)
        assert has_context.wait(60)
        with pytest.raises(SecondRunError, match="opened the project again"):
            hooks.hook.before_pipeline_run(**given)
        go_on.set()
        begun.result(60)
        assert others.parameters == "second"


@pytest.mark.parametrize("end", ["interrupted", "failed", "refused", "failed at the end"])
def test_a_run_after_one_that_did_not_end_well_begins(run: Callable[..., None], others: Others, end: str) -> None:
    def steps() -> None:
        if end == "interrupted":  # as a cell of a notebook is: Kedro calls no hook
            raise KeyboardInterrupt
        if end == "failed":
            raise ValueError("failed")

    def first() -> None:
        others.refuse, others.fail_at_the_end = end == "refused", end == "failed at the end"
        with pytest.raises((KeyboardInterrupt, ValueError)):
            run("first", steps)
        others.refuse = others.fail_at_the_end = False

    assert in_thread(first) is None
    assert in_thread(lambda: run("next")) is None  # its thread may have the number of the one that has ended
    first()
    assert in_thread(lambda: run("other")) is None  # a server's next request, while this thread lives
    run("second")
    assert others.parameters == "second"


def test_the_project_has_these_hooks() -> None:
    assert [each for each in HOOKS if isinstance(each, OneRunHooks)]
