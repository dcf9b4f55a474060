"""Runs are found on disk with what they made and what they reused."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from kedro.io.core import Version

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.datasets import AdapterDataset
from rsidiff_kedro.datasets.runs import Run, RunError, Runs, catalog_config
from rsidiff_kedro.provenance.content_digest import content_digest
from rsidiff_kedro.provenance.records import Record, Records
from rsidiff_kedro.provenance.retention import RECORDS

OLD, NEW = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"
CONFIG = {
    "rsi.round_{n}.metrics": {
        "type": "rsidiff_kedro.datasets.JSONDataset",
        "filepath": "round_{n}/metrics.json",
        "versioned": True,
    }
}


def make(
    data: Path,
    version: str,
    outputs: list[str],
    origins: Mapping[str, str] | None = None,
    rounds: int = 0,
    content: str = "d",
) -> None:
    """Record a step for each output; each but the first reads the one before, and all the first what `origins` say."""
    inputs = dict(origins or {})
    for name in outputs:
        step = Record(
            step=f"make {name}", version=version, outputs={name: content}, code="c", assets="a", libraries={},
            parameters={"finetune": {"steps": rounds}}, inputs=dict.fromkeys(inputs, "d"), origins=inputs,
        )  # fmt: skip
        Records(data / RECORDS).write(step)
        inputs = {name: version}


def metrics(data: Path, version: str, number: int, accepted: float | None) -> None:
    path = data / f"round_{number}" / "metrics.json" / version / "metrics.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"gate/accepted": accepted}))


ROUND = ["rsi.round_0.adapter", "rsi.round_1.adapter"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A finished run of two rounds, of which the gate rejected the last, and then one that stopped after a round."""
    names = [*ROUND, "rsi.round_2.adapter", *(f"rsi.round_{number}.metrics" for number in range(3)), "report"]
    make(tmp_path, OLD, names, rounds=1)
    for number, accepted in enumerate((None, 1.0, 0.0)):
        metrics(tmp_path, OLD, number, accepted)
    make(tmp_path, NEW, ["rsi.round_1.adapter", "rsi.round_1.metrics"], {"rsi.round_0.adapter": OLD}, rounds=2)
    return tmp_path


def runs(data: Path) -> Runs:
    return Runs(data, {name: {**each, "filepath": str(data / each["filepath"])} for name, each in CONFIG.items()})


def test_the_newest_is_the_newest_finished_run(data: Path) -> None:
    assert runs(data).newest().version == OLD
    make(data, NEW, ["report"], {"rsi.round_1.metrics": NEW}, rounds=2)
    assert runs(data).newest().version == NEW


def test_a_stopped_run_is_taken_where_none_is_finished(data: Path) -> None:
    for path in (data / RECORDS).glob(f"*{OLD}.json"):
        if "report" in path.read_text():
            path.unlink()
    assert runs(data).newest().version == NEW
    records = Records(data / RECORDS)
    records.end(OLD, runs(data).find(OLD).versions)  # which has the same rounds
    assert runs(data).newest("1").version == NEW


ALONE = "2026-01-03T00.00.00.000Z"


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_round_that_ran_alone_is_that_of_its_run_and_has_the_rounds_before(data: Path, is_ended: bool) -> None:
    records, again = Records(data / RECORDS), dict[str, str]()
    records.end(OLD, runs(data).find(OLD).versions)
    for number in (2, 3):  # the second is made again, and a third after it
        names = [f"rsi.round_{number}.{each}" for each in ("adapter", "metrics")]
        make(data, ALONE, names, {f"rsi.round_{number - 1}.adapter": OLD})
        metrics(data, ALONE, number, 1.0)
        again |= dict.fromkeys(names, ALONE)
    if is_ended:
        records.end(ALONE, again)
    found = runs(data)
    assert [found.newest(each).version for each in ("best", "base", "1", "9")] == [OLD] * 4
    assert [found.newest(each).version for each in ("2", "3")] == [ALONE if is_ended else OLD, ALONE]
    assert found.newest("3", "1").version == found.newest("base", "3").version == ALONE
    alone = found.find(ALONE)
    assert [alone.versions[f"rsi.round_{number}.metrics"] for number in range(4)] == [OLD, OLD, ALONE, ALONE]
    assert len(alone.metrics()) == 4 and not alone.finished


def test_a_run_has_what_it_reused(data: Path) -> None:
    run = runs(data).find(NEW)
    assert run.versions == {"rsi.round_0.adapter": OLD, "rsi.round_1.adapter": NEW, "rsi.round_1.metrics": NEW}
    assert run.parameters()["finetune.steps"] == 2
    Records(data / RECORDS).end(NEW, {"rsi.round_2.adapter": OLD, "rsi.round_1.adapter": NEW})
    assert runs(data).find(NEW).versions["rsi.round_2.adapter"] == OLD
    assert runs(data).find(NEW).rounds == 2


def test_what_a_stage_apart_read_in_the_same_run_is_no_parameter_of_the_method(data: Path) -> None:
    choose(data, NEW, "sft.round_1.training_set", {"sft": {"steps": 9}, "finetune": {"steps": 9}})
    assert runs(data).find(NEW).parameters() == {"finetune.steps": 2}


def test_a_run_knows_the_rewards_that_it_selected_by_whatever_the_configuration_says_now(tmp_path: Path) -> None:
    rewards = {"pick_score": 1.0, "my.module:Reward": 0.5}
    chosen = {"rewards": rewards, "floors": {"aesthetic": 5.0, "pick_score": 20.0}}
    dropping = {"early_dropping": {"after": 2, "reward": "proxy"}}
    made = {"selection": {"preference_selection": chosen}, "images": {"synthesis": dropping}}
    for name, parameters in made.items():
        choose(tmp_path, OLD, name, parameters)
    make(tmp_path, OLD, [*ROUND, "report"], dict.fromkeys(made, OLD))
    assert runs(tmp_path).newest().selecting() == {
        "pick_score": "with weight 1 and by a floor",
        "my.module:Reward": "with weight 0.5",
        "aesthetic": "by a floor",
        "proxy": "by early dropping",
    }


def choose(data: Path, version: str, output: str, parameters: dict[str, object]) -> None:
    """Record a step that read these parameters."""
    step = Record(
        step=f"make {output}", version=version, outputs={output: "d"}, code="c", assets="a", libraries={},
        parameters=parameters, inputs={}, origins={},
    )  # fmt: skip
    Records(data / RECORDS).write(step)


def test_without_selection_no_reward_selected(tmp_path: Path) -> None:
    chosen = {"enabled": False, "rewards": {"proxy": 1.0}, "floors": {"aesthetic": 5.0}}
    choose(tmp_path, OLD, "selection", {"preference_selection": chosen})
    make(tmp_path, OLD, [*ROUND, "report"], {"selection": OLD})
    assert runs(tmp_path).newest().selecting() == {}


def test_a_reward_that_selects_in_two_ways_is_told_with_both(tmp_path: Path) -> None:
    made = {
        "selection": {"preference_selection": {"rewards": {"proxy": 1.0}}},
        "images": {"synthesis": {"early_dropping": {"after": 2, "reward": "proxy"}}},
    }
    for name, parameters in made.items():
        choose(tmp_path, OLD, name, parameters)
    make(tmp_path, OLD, [*ROUND, "report"], dict.fromkeys(made, OLD))
    assert runs(tmp_path).newest().selecting() == {"proxy": "with weight 1 and by early dropping"}


def test_a_reward_that_selected_in_an_earlier_round_is_told_and_one_that_only_measured_is_not(tmp_path: Path) -> None:
    read = {"selection": ("proxy", "oracle"), "metrics": ("oracle", "clip_score")}
    made = {f"rsi.round_{n}.{each}": names[n - 1] for each, names in read.items() for n in (1, 2)}
    for name, reward in made.items():
        choose(tmp_path, OLD, name, {"preference_selection": {"rewards": {reward: 1.0}}})
    make(tmp_path, OLD, [*ROUND, "report"], dict.fromkeys(made, OLD))
    assert runs(tmp_path).newest().selecting() == {"proxy": "with weight 1", "oracle": "with weight 1"}


def test_a_floor_that_a_run_has_no_more_did_not_select_in_it(tmp_path: Path) -> None:
    """The weights that it reuses came from the selection with the floor, which dropped nothing."""
    for version, floors in ((OLD, {"aesthetic": 5.0}), (NEW, {})):
        chosen = {"preference_selection": {"rewards": {"proxy": 1.0}, "floors": floors}}
        choose(tmp_path, version, "selection", chosen)
    make(tmp_path, OLD, ["weights", *ROUND], {"selection": OLD})
    make(tmp_path, NEW, ["report"], {"selection": NEW, "rsi.round_1.adapter": OLD})
    kept = dict.fromkeys(["weights", *ROUND], OLD)
    Records(tmp_path / RECORDS).end(NEW, {**kept, "selection": NEW, "report": NEW})
    assert runs(tmp_path).newest().selecting() == {"proxy": "with weight 1"}


def select(data: Path, version: str, floors: dict[str, float], content: str = "d") -> None:
    """Record a step that selects."""
    parameters = {"preference_selection": {"rewards": {"proxy": 1.0}, "floors": floors}, "rewards": {"clip": {"n": 1}}}
    step = Record(
        step="select", version=version, outputs={"selection": content}, code="c", assets="a", libraries={},
        parameters=parameters, inputs={}, origins={},
    )  # fmt: skip
    Records(data / RECORDS).write(step)


def test_a_run_that_reused_steps_has_its_own_parameters_alone(tmp_path: Path) -> None:
    """A floor that dropped nothing was removed: the selection is the same, so what follows was reused."""
    select(tmp_path, OLD, {"bright": 1.0})
    make(tmp_path, OLD, ROUND, {"selection": OLD})
    select(tmp_path, NEW, {})
    Records(tmp_path / RECORDS).end(OLD, {"selection": OLD, **dict.fromkeys(ROUND, OLD)})
    Records(tmp_path / RECORDS).end(NEW, {"selection": NEW, **dict.fromkeys(ROUND, OLD)})
    old, new = (runs(tmp_path).find(version) for version in (OLD, NEW))
    assert old.parameters()["preference_selection.floors.bright"] == 1.0
    assert new.parameters().keys() == old.parameters().keys() - {"preference_selection.floors.bright"}
    for run in (old, new):
        assert [each.version for each in run.records if each.step == "select"] == [run.version]
        assert [each.version for each in run.leading_to(ROUND[1])] == [OLD, OLD, run.version]


def test_parameters_of_a_part_that_ran_again_replace_those_of_before_whole(tmp_path: Path) -> None:
    select(tmp_path, OLD, {"bright": 1.0})
    make(tmp_path, OLD, ROUND, {"selection": OLD})
    step = Record(
        step="select again", version=NEW, outputs={"later": "d"}, code="c", assets="a", libraries={},
        parameters={"preference_selection": {"floors": {}}, "rewards": {}}, inputs={"rsi.round_1.adapter": "d"},
        origins={"rsi.round_1.adapter": OLD},
    )  # fmt: skip
    Records(tmp_path / RECORDS).write(step)
    assert runs(tmp_path).find(NEW).parameters() == {"finetune.steps": 0, "rewards.clip.n": 1}


def test_best_is_the_last_round_that_the_gate_accepted(data: Path) -> None:
    run = runs(data).newest()
    assert [run.round_number(name) for name in ("best", "base", "0", "2")] == [1, 0, 0, 2]


def test_a_round_that_was_not_tested_has_the_scores_of_its_adapter_also_when_that_was_pruned(tmp_path: Path) -> None:
    scores = ["rsi.round_0.test_scores", "rsi.round_1.test_scores"]
    make(tmp_path, OLD, [*ROUND, "rsi.round_2.adapter", "rsi.round_3.adapter", *scores, "report"])
    for number, value in enumerate((0.0, 1.0, 1.0, 2.0)):  # round 2 was rejected, and round 3 not tested
        dataset = AdapterDataset(filepath=tmp_path / f"round_{number}" / "adapter", version=Version(None, OLD))
        dataset.save(Adapter({"unet.a.lora_A.weight": torch.full((1, 2), value)}, {"round": number}))
        dataset.prune(OLD)
    entry = {"type": "rsidiff_kedro.datasets.AdapterDataset", "versioned": True}
    place = {"filepath": str(tmp_path / "round_{n}" / "adapter")}
    run = Runs(tmp_path, {"rsi.round_{n}.adapter": entry | place}).newest()
    assert [run.tested_round(number) for number in range(3)] == [0, 1, 1]
    with pytest.raises(RunError, match=r"round 3 of the run .* was not tested.*name a tested round \(0, 1\)"):
        run.tested_round(3)
    wrong = {"rsi.round_{n}.adapter": entry | place | {"type": "rsidiff_kedro.datasets.JSONDataset"}}
    with pytest.raises(RunError, match=r"has no rsi.round_2.adapter of the type rsidiff_kedro.datasets.AdapterDataset"):
        Runs(tmp_path, wrong).newest().tested_round(2)


@pytest.mark.parametrize("name", ["3", "-1", "", "last", "1.0", "\u00b2"])
def test_a_round_that_does_not_exist_is_refused_with_those_that_do(data: Path, name: str) -> None:
    with pytest.raises(RunError, match="it has base and 1 to 2"):
        runs(data).newest().round_number(name)


def test_a_run_is_found_by_how_its_version_begins(data: Path) -> None:
    assert runs(data).find("2026-01-01").version == OLD
    for name, said in (("2026", f"2 runs are named '2026'; name one of: {OLD}, {NEW}"), ("x", "0 runs are named 'x'")):
        with pytest.raises(RunError, match=said):
            runs(data).find(name)


def test_without_a_run_the_command_that_makes_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="kedro run --pipeline=rsi makes one"):
        runs(tmp_path).newest()


@pytest.mark.parametrize(
    "entry", [None, {}, {"filepath": "a"}, {"type": 5}, {"type": "rsidiff_kedro.datasets.JSONDataset", "filepath": 5}]
)
def test_an_entry_of_the_catalog_without_type_or_path_is_named(tmp_path: Path, entry: object) -> None:
    with pytest.raises(InputError, match=r"the catalog's entry 'notes' has no text as its (type|filepath); correct it"):
        catalog_config(tmp_path, {"catalog": {"notes": entry}})


@pytest.mark.parametrize("read", [Run.load, Run.path])
def test_what_has_no_versions_is_only_of_runs_that_saved_what_lies_there(
    tmp_path: Path, read: Callable[[Run, str], Any]
) -> None:
    name, place = "rsi.round_1.metrics", tmp_path / "round_1" / "metrics.json"
    place.parent.mkdir()
    for version in (OLD, NEW):
        place.write_text(json.dumps({"run": version}))
        make(tmp_path, version, ROUND)
        make(tmp_path, version, [name], {ROUND[1]: version}, content=content_digest(place))
    config = {"type": "rsidiff_kedro.datasets.JSONDataset", "filepath": str(place), "versioned": False}
    found = Runs(tmp_path, {name: config})
    expected = {"run": NEW} if read is Run.load else place
    assert read(found.find(NEW), name) == expected
    with pytest.raises(RunError, match=rf"{name} has no versions in .* does not hold what the run {OLD} saved there"):
        read(found.find(OLD), name)
    place.write_text(json.dumps({"run": OLD}))
    assert read(found.find(OLD), name)
    place.unlink()
    for version in (OLD, NEW):
        with pytest.raises(RunError, match=f"does not hold what the run {version} saved"):
            read(found.find(version), name)


@pytest.mark.parametrize("entry", ["rsi.round_{n}.metrics", "rsi.round_1.metrics"])
def test_no_other_entry_takes_a_name_of_a_dataset_of_another_package(data: Path, entry: str) -> None:
    own = {"{method}.round_{n}.metrics": CONFIG["rsi.round_{n}.metrics"]}
    foreign = {"type": "not_installed.Dataset", "filepath": "elsewhere", "credentials": "nobody's"}
    assert Runs(data, catalog_config(data, {"catalog": own})).newest().load("rsi.round_1.metrics")
    run = Runs(data, catalog_config(data, {"catalog": own | {entry: foreign}})).newest()
    with pytest.raises(RunError, match=r"gives rsi.round_1.metrics no type of rsidiff_kedro.datasets"):
        run.load("rsi.round_1.metrics")


@pytest.mark.parametrize(("given", "meant"), [("a", "{root}/a"), ("file:///b", "/b"), ("s3://c/d", "s3://c/d")])
def test_the_places_of_datasets_are_absolute(tmp_path: Path, given: str, meant: str) -> None:
    entry = {"type": "rsidiff_kedro.datasets.JSONDataset", "filepath": given}
    found = catalog_config(tmp_path, {"catalog": {"notes": entry}})
    assert found == {"notes": entry | {"filepath": meant.format(root=tmp_path)}}


def test_a_dataset_of_another_package_is_named(data: Path) -> None:
    with pytest.raises(RunError, match=r"gives rsi.round_0.metrics no type of rsidiff_kedro.datasets"):
        Runs(data, {}).newest().load("rsi.round_0.metrics")


def test_what_a_run_did_not_make_is_said(data: Path) -> None:
    said = r"made no rsi\.round_0\.metrics \(of its 1 rounds it has that of: 1\); run all rounds with --only-missing"
    with pytest.raises(RunError, match=said):
        runs(data).find(NEW).load("rsi.round_0.metrics")
