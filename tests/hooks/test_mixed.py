"""A run reads the versions that it is told, and joins no data of a round that were made of different ones."""

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog, MemoryDataset
from kedro.io.core import Version
from kedro.pipeline import Pipeline, node
from kedro_datasets.json import JSONDataset

from rsidiff_kedro.hooks.mixed import MixedInputsError
from rsidiff_kedro.hooks.pinned import LoadVersionError
from rsidiff_kedro.hooks.reuse import ReuseHooks
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.hooks.session import RsiSession
from rsidiff_kedro.provenance.records import Records

ONE, TWO, APART = "rsi.round_1.", "rsi.round_2.", "sft.round_1."
STEPS = {
    "curate": (["params:pool"], ["pool", "rejected"]),
    "generate": (["params:steps", "params:label", "pool"], [ONE + "images", ONE + "prompts"]),
    "score": ([ONE + "images"], ONE + "scores"),
    "weigh": ([ONE + "images", ONE + "scores"], ONE + "weights"),
    "train": ([ONE + "images", ONE + "prompts", ONE + "weights", "params:rate"], ONE + "adapter"),
    "generate_next": ([ONE + "adapter", "params:steps"], TWO + "images"),
    "train_next": ([TWO + "images", ONE + "weights"], TWO + "adapter"),
    "choose_next": (["pool"], TWO + "prompts"),
    "draw_next": ([TWO + "prompts", ONE + "adapter"], TWO + "drawn"),
    "count": (["pool", "rejected", ONE + "scores", TWO + "drawn"], "funnel"),
    "collect": ([ONE + "images"], "table"),
    "plot": (["table", "pool"], "page"),
}
STEPS_APART = {
    "pair": (["params:pairs"], APART + "pairs"),
    "fit": ([APART + "pairs"], APART + "adapter"),
    "compare": ([APART + "adapter", ONE + "images", ONE + "scores"], APART + "metrics"),  # more of the others' data
    "test": ([APART + "adapter", APART + "pairs", ONE + "images"], APART + "tested"),  # less of them
    "look_up": (["nobody's"], "found"),
}
Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("2", "score weigh", {dataset: version}, steps=4)`: two rounds, or some of all steps; gives what it made.

    The steps are of two pipelines, one of which reads the other. Images are told apart by `steps`, not by `label`, and
    their scores are the same for two and three steps. With `stops=True` the run does not come to its end.
    """

    def compute(name: str, *inputs: Any) -> Any:
        if name == "generate":
            return f"images of {inputs[0]} steps{inputs[2]}", f"prompts of {inputs[0]} steps"
        if name == "curate":
            return inputs[0], f"rejected{inputs[0]}"
        if name == "score":
            return "few" if inputs[0] < "images of 4" else "many"
        return [name, *inputs]

    def run(
        run_id: str, only: str = "", named: dict[str, str] | None = None, stops: bool = False, **parameters: Any
    ) -> list[str]:
        made: list[str] = []

        def step(name: str) -> Callable[..., Any]:
            def call(*inputs: Any) -> Any:
                made.append(name)
                return compute(name, *inputs)

            return call

        values = {"steps": 3, "label": "", "rate": 1, "pool": "", "pairs": "A"} | parameters
        catalog = DataCatalog({f"params:{name}": MemoryDataset(value) for name, value in values.items()})
        whole, apart = (
            Pipeline([node(step(name), *linked, name=name) for name, linked in steps.items()])
            for steps in (STEPS, STEPS_APART)
        )
        every = {"all": whole, "apart": apart}
        for name in {"nobody's", *whole.all_outputs(), *apart.all_outputs()}:
            version = Version((named or {}).get(name), run_id)
            catalog[name] = JSONDataset(filepath=str(tmp_path / f"{name}.json"), version=version)
        monkeypatch.setattr("rsidiff_kedro.hooks.reuse.pipelines", every)
        monkeypatch.setattr("rsidiff_kedro.hooks.mixed.pipelines", every)
        pipeline = (whole + apart).only_nodes(*only.split()) if only else whole
        manager = _create_hook_manager()
        manager.register(ReuseHooks(tmp_path))
        given = {"only_missing_outputs": not only, "run_id": run_id, "load_versions": named or {}}
        try:
            manager.hook.before_pipeline_run(run_params=given, pipeline=pipeline, catalog=catalog)
        finally:
            assert not made
        RsiRunner().run(pipeline, catalog, manager, only_missing_outputs=not only)
        if not stops:
            manager.hook.after_pipeline_run(run_params=given, run_result={}, pipeline=pipeline, catalog=catalog)
        return made

    return run


def read(folder: Path, step: str) -> dict[str, str]:
    """Return the versions that the newest of these steps has read, without `rsi.round_1.` and the like."""
    made = [record for record in Records(folder / "lineage").all() if record.step == step]
    return {name.rpartition(".")[2]: version for name, version in made[-1].origins.items()}


IMAGES, WEIGHTS = ONE + "images", ONE + "weights"
OTHER = {"steps": 4}


@pytest.mark.parametrize(
    ("only", "named", "parameters", "said"),
    [
        ("weigh", {}, OTHER, rf"weigh would join {IMAGES} with {ONE}scores, .* again .*--load-versions={IMAGES}:1"),
        ("weigh", {IMAGES: "2"}, {}, rf"{IMAGES} with {ONE}scores, which was made of other content of it"),
        ("train", {}, OTHER, rf"train would join {IMAGES} with {WEIGHTS}"),
        ("train", {ONE + "prompts": "2"}, {}, rf"train would join {IMAGES} with {WEIGHTS}"),  # images are of 2 too
        ("train", {IMAGES: "2", ONE + "prompts": "1"}, {}, rf"train would join {IMAGES} with {WEIGHTS}"),
        ("generate weigh", {}, {"steps": 5}, rf"weigh would join {IMAGES} with {ONE}scores, .*pipelines=all\)$"),
        ("score train", {}, OTHER, rf"train would join {IMAGES} with {WEIGHTS}"),
    ],
)
def test_data_of_other_images_are_refused_before_the_first_step(
    run: Run, only: str, named: dict[str, str], parameters: dict[str, Any], said: str
) -> None:
    run("1")
    run("2", "generate", **OTHER)
    with pytest.raises(MixedInputsError, match=said):
        run("3", only, named, **parameters)


@pytest.mark.parametrize(
    ("only", "named", "parameters", "versions"),
    [
        ("weigh", {}, {}, {"images": "1", "scores": "1"}),
        ("weigh", {IMAGES: "1"}, OTHER, {"images": "1", "scores": "1"}),
        ("score weigh", {IMAGES: "2"}, {}, {"images": "2", "scores": "3"}),  # upstream of another input, too
        ("score weigh train", {IMAGES: "2"}, {}, {"images": "2", "prompts": "2", "weights": "3"}),
        ("train", {ONE + "prompts": "1"}, OTHER, {"images": "1", "prompts": "1", "weights": "1"}),
        ("generate weigh", {}, {}, {"images": "3", "scores": "1"}),  # it makes the same images again
        ("generate_next", {ONE + "adapter": "1"}, OTHER, {"adapter": "1"}),
        ("train_next", {}, {"label": "nobody made this"}, {"images": "1", "weights": "1"}),
        ("score weigh train_next", {IMAGES: "2"}, {}, {"images": "1", "weights": "3"}),  # weights of an earlier round
    ],
)
def test_named_versions_and_what_belongs_to_them_are_read(
    run: Run, tmp_path: Path, only: str, named: dict[str, str], parameters: dict[str, Any], versions: dict[str, str]
) -> None:
    run("1")
    run("2", "generate", **OTHER)
    assert run("3", only, named, **parameters) == only.split()
    assert read(tmp_path, only.split()[-1]) == versions


@pytest.mark.parametrize("name", [IMAGES, ONE + "prompts", ONE + "scores", WEIGHTS])
def test_a_version_that_does_not_exist_is_refused_whatever_else_is_read(run: Run, name: str) -> None:
    run("1")
    run("2", "generate", **OTHER)
    newest = "2" if name in (IMAGES, ONE + "prompts") else "1"
    only = "weigh" if name in (IMAGES, ONE + "scores") else "train"
    with pytest.raises(LoadVersionError, match=rf"{name} has no version '9'; .* the newest of \d is {newest}"):
        run("3", only, {name: "9"})


def test_data_count_by_their_content(run: Run, tmp_path: Path) -> None:
    run("1")
    run("2", "generate", label="the same images")
    assert run("3", "weigh", label="something else again") == ["weigh"]  # of the last run that has scores
    assert read(tmp_path, "weigh") == {"images": "1", "scores": "1"}
    assert run("3.1", "weigh", {IMAGES: "2"}) == ["weigh"]
    assert read(tmp_path, "weigh") == {"images": "2", "scores": "1"}
    run("4", steps=2)  # other images with the same scores
    assert run("5", "weigh", label="nobody made this") == ["weigh"]
    assert read(tmp_path, "weigh") == {"images": "4", "scores": "4"}


def test_what_no_record_tells_of_is_joined_if_it_is_named(run: Run, tmp_path: Path) -> None:
    run("1")
    run("2", "generate", **OTHER)
    by_hand = tmp_path / f"{ONE}scores.json/3/{ONE}scores.json"
    by_hand.parent.mkdir()
    by_hand.write_text('"mine"')
    with pytest.raises(MixedInputsError, match=f"{IMAGES} with {ONE}scores, which was made of other content"):
        run("4", "weigh", **OTHER)
    assert run("4", "weigh", {ONE + "scores": "3"}, **OTHER) == ["weigh"]
    assert read(tmp_path, "weigh") == {"images": "2", "scores": "3"}


FEW = {"pool": " of few"}


@pytest.mark.parametrize(
    ("only", "named", "parameters", "said"),
    [
        (
            "count",
            {},
            FEW,
            rf"count would join pool with {ONE}scores, .*\(.*=all\).*--load-versions=pool:1",
        ),
        ("count", {"pool": "2"}, {}, rf"count would join pool with {ONE}scores, which was made of other content of it"),
        ("curate count", {}, {"pool": " of two"}, rf"count would join pool with {ONE}scores, .*=all\)$"),
        ("choose_next draw_next count", {}, FEW, rf"count would join pool with {ONE}scores"),
        ("plot", {}, FEW, "plot would join pool with table, which was made of other content of it"),
        ("count", {"pool": "1"}, FEW, {"pool": "1", "rejected": "1", "scores": "1", "drawn": "1"}),
        ("count", {}, {}, {"pool": "1", "rejected": "1", "scores": "1", "drawn": "1"}),
        ("draw_next", {}, FEW, {"prompts": "1", "adapter": "1"}),
        ("choose_next draw_next", {}, FEW, {"prompts": "3", "adapter": "1"}),  # of an earlier round
    ],
)
def test_rounds_are_not_joined_with_shared_data_of_which_they_were_not_made(
    run: Run, tmp_path: Path, only: str, named: dict[str, str], parameters: dict[str, Any], said: str | dict[str, str]
) -> None:
    run("1")
    run("2", "curate", **FEW)
    if isinstance(said, dict):
        run("3", only, named, **parameters)
        assert read(tmp_path, only.split()[-1]) == said
    else:
        with pytest.raises(MixedInputsError, match=said):
            run("3", only, named, **parameters)


UNKNOWN = {"label": "nobody made this", "pairs": "nobody made these"}
WHOLE, OTHER_RATE = ("", {}), ("", {"rate": 2})
OTHER_WEIGHTS, OTHER_ROUND = ("weigh", UNKNOWN), ("generate score weigh train", OTHER)
STOPPED = ("train", {"rate": 2, "stops": True})
PAIRS, OTHER_PAIRS = ("pair fit", {}), ("pair fit", {"pairs": "B"})


@pytest.mark.parametrize(
    ("before", "only", "versions"),
    [
        ([WHOLE, OTHER_RATE], "generate_next", {"adapter": "2"}),
        ([WHOLE, OTHER_RATE, WHOLE], "generate_next", {"adapter": "1"}),  # that went back
        ([WHOLE, OTHER_RATE, WHOLE], "train_next", {"images": "1", "weights": "1"}),
        ([WHOLE, OTHER_RATE, WHOLE, OTHER_WEIGHTS], "generate_next", {"adapter": "1"}),
        ([WHOLE, OTHER_RATE, WHOLE, OTHER_WEIGHTS], "train_next", {"images": "1", "weights": "1"}),
        ([WHOLE, OTHER_WEIGHTS], "train", {"images": "1", "prompts": "1", "weights": "2"}),  # made of images of run 1
        ([WHOLE, STOPPED], "generate_next", {"adapter": "1"}),
        ([WHOLE, OTHER_RATE, WHOLE, STOPPED], "generate_next train_next", {"images": "5", "weights": "1"}),
        (
            [("curate generate score weigh", {"stops": True}), STOPPED],
            "generate_next",
            {"adapter": "2"},
        ),  # the only one
        ([WHOLE, OTHER_ROUND], "generate_next", {"adapter": "2"}),
        ([WHOLE, OTHER_ROUND], "train_next", {"images": "1", "weights": "1"}),  # of which these images were made
        ([WHOLE, PAIRS, OTHER_PAIRS, PAIRS], "fit", {"pairs": "4"}),
        ([WHOLE, PAIRS, OTHER_PAIRS, STOPPED], "compare", {"adapter": "3", "images": "1", "scores": "1"}),
        ([PAIRS, WHOLE, OTHER_PAIRS], "test", {"adapter": "3", "pairs": "3", "images": "2"}),
    ],
)
def test_what_nobody_made_with_these_parameters_is_read_of_the_last_complete_run_and_belongs_together(
    run: Run,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    before: list[tuple[str, dict[str, Any]]],
    only: str,
    versions: dict[str, str],
) -> None:
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    for number, (part, given) in enumerate(before, 1):
        run(str(number), part, **given)
    new = str(len(before) + 1)
    caplog.clear()
    run(new, only, **UNKNOWN)
    assert read(tmp_path, only.split()[-1]) == versions
    said = next(each for each in caplog.messages if each.startswith("no version was made with these parameters; read"))
    assert {*versions.values()} - {new} == {*re.findall(r" of (\d)", said)}


@pytest.mark.parametrize(
    ("only", "versions"),
    [
        ("fit", {"pairs": "2"}),
        ("compare", {"adapter": "2", "images": "1", "scores": "1"}),
        ("test", {"adapter": "2", "pairs": "2", "images": "1"}),
    ],
)
def test_what_these_parameters_make_is_read_whichever_pipelines_make_it(
    run: Run, tmp_path: Path, only: str, versions: dict[str, str]
) -> None:
    run("1")
    run("2", "pair fit")
    run("3", "pair fit", pairs="B")
    run("4", **OTHER)
    run("5", only)
    assert read(tmp_path, only) == versions


def test_what_no_pipeline_makes_is_named(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    caplog.set_level(logging.INFO)
    for version in "12":
        place = tmp_path / f"nobody's.json/{version}/nobody's.json"
        place.parent.mkdir(parents=True)
        place.write_text(version)
    run("3", "look_up")
    assert "no pipeline makes these, and the newest version is read: nobody's of 2" in caplog.messages


@pytest.fixture(scope="module")
def project(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished project in which later, images of round 1 were made in fewer steps."""
    copied = shutil.copytree(finished_project, tmp_path_factory.mktemp("mixed") / "project", symlinks=True)
    run_project(copied, FEWER, pipeline_names=["synthesis"])
    return copied


FEWER = {"rounds": 1, "synthesis": {"sampler": {"num_inference_steps": 2}}}


def run_project(project: Path, params: dict[str, Any], **options: Any) -> None:
    with RsiSession.create(project, env="test", runtime_params=params) as session:
        session.run(**options)


def versions_of(project: Path, name: str) -> list[str]:
    return sorted(path.name for path in next((project / "data").rglob(name)).iterdir())


TRAIN = ["weighting", "finetune"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"pipeline_names": ["evaluation"]}, "rsi.round_1.adapter"),
        ({"pipeline_names": TRAIN}, "rsi.round_1.images"),
        ({"from_inputs": ["prompt_pool"], "only_missing_outputs": True}, "prompt_pool"),
    ],
)
def test_the_whole_method_reads_no_version_that_does_not_exist(
    project: Path, options: dict[str, Any], name: str
) -> None:
    before = sorted(project.rglob("*"))
    with pytest.raises(click.ClickException, match=f"{name} has no version '2030-01-01T00.00.00.000Z'; .* newest of"):
        run_project(project, {"rounds": 1}, load_versions={name: "2030-01-01T00.00.00.000Z"}, **options)
    assert sorted(project.rglob("*")) == before


def test_a_selection_of_other_images_trains_nothing(project: Path) -> None:
    old, new = versions_of(project, "round_1/images")
    before = sorted(project.rglob("*"))
    said = (
        r"rsi.round_1.weighting.weigh_samples would join rsi.round_1.images with rsi.round_1.selection, which was made "
        r"of other content of it; first make rsi.round_1.selection again \(kedro run --pipelines=preference_selection\)"
        f", or read what it was made of: --load-versions=rsi.round_1.images:{old}"
    )
    with pytest.raises(click.ClickException, match=said):
        run_project(project, FEWER, pipeline_names=TRAIN)
    with pytest.raises(click.ClickException, match=said):
        run_project(project, {"rounds": 1}, pipeline_names=TRAIN, load_versions={"rsi.round_1.images": new})
    assert sorted(project.rglob("*")) == before
    run_project(project, FEWER, pipeline_names=["preference_selection"])
    run_project(project, FEWER, pipeline_names=TRAIN)
    run_project(project, {"rounds": 1}, pipeline_names=TRAIN)
    made = [
        record.origins["rsi.round_1.images"]
        for record in Records(project / "data/test/lineage").all()
        if record.step == "rsi.round_1.finetune.build_training_set"
    ]
    assert made == [old, new, old]


def test_a_report_joins_no_pool_with_rounds_that_were_made_of_another(project: Path) -> None:
    (old,) = versions_of(project, "prompt_pool.parquet")
    few = {"rounds": 1, "prompt_curation": {"pool_size": 8}}
    run_project(project, few, pipeline_names=["prompt_curation"])
    before = sorted(project.rglob("*"))
    said = (
        r"report.count_kept would join prompt_pool with rsi.round_1.selection, which was made of other content of it; "
        r"first make rsi.round_1.selection again \(kedro run --pipelines=rsi\)"
    )
    with pytest.raises(click.ClickException, match=f"{said}, or read .* --load-versions=prompt_pool:{old}"):
        run_project(project, few, pipeline_names=["report"])
    assert sorted(project.rglob("*")) == before
