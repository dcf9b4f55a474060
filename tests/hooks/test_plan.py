"""A run of the whole method says first what it will need."""

import logging
from collections.abc import Callable

import pytest
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines

from rsidiff_kedro.hooks.plan import PlanHooks


@pytest.mark.parametrize(
    ("name", "continued", "lines"), [("rsi", False, 3), ("rsi", True, 0), ("finetune", False, 0), ("report", False, 0)]
)
def test_only_a_whole_run_that_begins_says_it(
    load_context: Callable[..., KedroContext],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    continued: bool,
    lines: int,
) -> None:
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    hooks = PlanHooks()
    hooks.after_context_created(load_context(env="test"))
    with caplog.at_level(logging.INFO, "rsidiff_kedro.hooks.plan"):
        hooks.before_pipeline_run({"only_missing_outputs": continued}, pipelines[name])
    records = [record for record in caplog.records if record.name == "rsidiff_kedro.hooks.plan"]
    said = [line for text in dict.fromkeys(map(logging.LogRecord.getMessage, records)) for line in text.splitlines()]
    assert len(said) == lines and all(
        line.startswith(start) for line, start in zip(said, ("Plan: ", "Disk: ", "Time: "))
    )
