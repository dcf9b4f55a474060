"""What a run says of its progress: where it is, and a line at the end of each round."""

import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline, node
from kedro.runner import SequentialRunner

from rsidiff_kedro.execution.progress import progress_bar
from rsidiff_kedro.hooks.progress import ProgressHooks

NAN = float("nan")
ROUNDS = [
    {"test/prompt_accuracy": 0.5, "test/reward/proxy": 1.0, "gate/accepted": 1.0},
    {"test/prompt_accuracy": 0.625, "test/reward/proxy": 1.5, "gate/accepted": 1.0},
    {"test/prompt_accuracy": 0.6, "test/reward/proxy": 1.25, "gate/accepted": 0.0},
]


def run(pipeline: Pipeline, catalog: DataCatalog | None = None, rounds: int = 2, **selection: Any) -> None:
    catalog, manager = catalog or DataCatalog(), _create_hook_manager()
    manager.register(ProgressHooks())
    selection = {"rewards": {"proxy": 1.0}, "floors": {}} | selection
    catalog["parameters"] = MemoryDataset({"rounds": rounds, "preference_selection": selection})
    shared: dict[str, Any] = {"pipeline": pipeline, "catalog": catalog, "run_params": {}}
    manager.hook.before_pipeline_run(**shared)
    try:
        result = SequentialRunner().run(pipeline, catalog, hook_manager=manager)
    except RuntimeError as error:
        manager.hook.on_pipeline_error(error=error, **shared)
        raise
    manager.hook.after_pipeline_run(run_result=result, **shared)


def measured(metrics: list[dict[str, float]], before: Callable[[], None] = lambda: None) -> Pipeline:
    """A chain of one node per round, which calls `before` and returns the round's metrics."""

    def measure(number: int) -> Callable[[Any], dict[str, float]]:
        return lambda _: before() or metrics[number]

    names = ["parameters", *(f"rsi.round_{number}.metrics" for number in range(len(metrics)))]
    nodes = [
        node(measure(number), names[number], names[number + 1], name="measure", namespace=f"rsi.round_{number}")
        for number in range(len(metrics))
    ]
    return Pipeline([*nodes, node(lambda _: before() or "better", names[-1], "summary", name="summarize")])


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    caplog.set_level(logging.INFO, "rsidiff_kedro")
    return lambda: [re.sub(r"\d+\.\d s", "0 s", record.getMessage()) for record in caplog.records]


def test_each_round_ends_with_its_result_the_gate_and_the_time_left(lines) -> None:
    run(measured(ROUNDS))
    assert lines() == [
        "Round 0/2: prompt accuracy 0.500, the base model, took 0 s",
        "Round 1/2: prompt accuracy 0.625 (+0.125), candidate accepted, took 0 s; about 0 s left",
        "Round 2/2: prompt accuracy 0.600 (-0.025), candidate rejected by the gate, took 0 s",
    ]


def test_without_a_judge_the_reward_that_selects_is_named(lines) -> None:
    run(measured([{**metrics, "test/reward/held_out": 9.0, "test/prompt_accuracy": NAN} for metrics in ROUNDS[:2]]))
    assert "Round 1/2: reward proxy 1.500 (+0.500), candidate accepted" in lines()[1]


def test_a_round_without_a_gate_says_so(lines) -> None:
    run(measured([{**metrics, "gate/enabled": 0.0, "gate/accepted": 1.0} for metrics in ROUNDS[:2]]))
    assert "prompt accuracy 0.625 (+0.125), candidate used without a gate" in lines()[1]


def test_without_selection_and_judge_the_first_reward_is_named(lines) -> None:
    run(measured([{**metrics, "test/prompt_accuracy": NAN} for metrics in ROUNDS[:2]]), enabled=False)
    assert "Round 1/2: reward proxy 1.500 (+0.500), candidate accepted" in lines()[1]


@pytest.mark.parametrize(
    ("selection", "signs"), [({}, 1), ({"floors": {"clip": 0.1}}, 0), ({"floors": {"clip": 0.1}, "enabled": False}, 1)]
)
def test_a_reward_with_a_floor_is_no_held_out_one_whose_fall_is_a_sign_of_collapse(lines, selection, signs) -> None:
    key = "test/reward/clip"
    falls = [{key: mean, f"{key}_low": mean - 0.1, f"{key}_high": mean + 0.1} for mean in (2.0, 1.0)]
    run(measured([{**metrics, **fall} for metrics, fall in zip(ROUNDS, falls)]), **selection)
    assert sum("sign of collapse: held-out reward clip" in line for line in lines()) == signs


def test_the_change_is_from_the_round_before_also_where_that_was_reused(lines) -> None:
    pipeline = measured(ROUNDS).only_nodes("rsi.round_2.measure")
    run(pipeline, DataCatalog({"rsi.round_1.metrics": MemoryDataset(ROUNDS[1])}))
    (line,) = lines()
    assert line.startswith("Round 2/2: prompt accuracy 0.600 (-0.025)")


def test_bars_begin_with_the_round_that_runs_and_only_in_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    run(measured(ROUNDS, lambda: progress_bar("generating images", total=1).close()), rounds=2)
    shown = re.findall(r"([^\r\n]*?generating images)", capsys.readouterr().err)
    places = ["round 0/2: ", "round 1/2: ", "round 2/2: ", ""]
    assert list(dict.fromkeys(shown)) == [f"{place}generating images" for place in places]


def test_a_round_that_fails_ends_without_a_line_and_without_a_place(lines, capsys) -> None:
    def fail() -> None:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        run(measured(ROUNDS, fail))
    progress_bar("later", total=1).close()
    assert not lines() and "round" not in capsys.readouterr().err
