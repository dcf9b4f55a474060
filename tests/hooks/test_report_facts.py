"""A report counts the steps of its own run, also where that reused steps of another."""

import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from kedro.io import DataCatalog
from kedro.io.core import Version

from rsidiff_kedro.cli.project import open_project
from rsidiff_kedro.datasets import AdapterDataset
from rsidiff_kedro.execution.run_facts import RunFacts
from rsidiff_kedro.hooks import report_facts
from rsidiff_kedro.hooks.report_facts import RunFactsHooks
from rsidiff_kedro.hooks.session import RsiSession
from rsidiff_kedro.provenance.records import Record

OLD = "2026-01-01T00.00.00.000Z"


def test_a_run_that_removes_a_floor_that_dropped_nothing_has_no_step_or_parameter_of_the_run_before(
    finished_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = shutil.copytree(finished_project, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(project)
    counted: list[list[Record]] = []
    seconds = report_facts.recorded_seconds
    monkeypatch.setattr(
        report_facts,
        "recorded_seconds",
        lambda made: seconds(counted.append([*made]) or counted[-1]),  # type: ignore[func-returns-value]
    )

    def run(**selection: Any) -> None:
        params = {"rounds": 1, "preference_selection": {"max_gap": 9.0, **selection}}
        with RsiSession.create(project, env="test", runtime_params=params) as session:
            session.run(pipeline_names=["rsi"], only_missing_outputs=True)

    run(floors={"oracle": -1.0})
    run()
    steps = Counter(each.step for each in counted[-1])
    assert len(counted) > 1
    assert max(steps.values()) == 1 and "rsi.round_1.preference_selection.select_samples" in steps
    before, after = open_project("test", {})[1].finished()[-2:]
    assert before.selecting() == {"proxy": "with weight 1", "oracle": "by a floor"}
    assert after.selecting() == {"proxy": "with weight 1"}


@pytest.mark.parametrize(
    ("version", "folder"), [(Version(None, "2"), f"/a/adapter/{OLD}/adapter"), (None, "/a/adapter")]
)
def test_the_adapter_in_use_lies_where_it_was_saved(version: Version | None, folder: str) -> None:
    name = "rsi.round_1.adapter"
    made = Record(
        step="gate", version=OLD, outputs={name: "d"}, code="c", assets="a", libraries={}, parameters={}, inputs={},
        origins={},
    )  # fmt: skip
    catalog = DataCatalog({name: AdapterDataset(filepath="/a/adapter", version=version)})
    facts = RunFacts(adapters=RunFactsHooks()._adapters([made], catalog))
    assert (facts.adapters, facts.adapter_places) == ({1: folder}, {1: "/a/adapter"})


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/usr/bin/kedro", ["kedro"]),
        ("/a/rsidiff_kedro/__main__.py", ["python", "-m", "rsidiff_kedro"]),
        ("/a/notebook.py", None),
    ],
)
def test_the_words_of_a_command_stay_apart(
    monkeypatch: pytest.MonkeyPatch, program: str, words: list[str] | None
) -> None:
    monkeypatch.setattr(sys, "argv", [program, "run", "--params=a=/x y/b,c=http://me:secret@host\x1b", ""])
    expected = words and [*words, "run", r"--params=a=/x y/b,c=http://***@host\x1b", ""]
    assert report_facts.command() == (expected or [])
