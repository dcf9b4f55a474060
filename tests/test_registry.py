"""The pipelines: their names, how rounds hang together, and that each stage stands alone."""

import time

import pytest
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro.pipeline_registry import register_pipelines, set_rounds
from rsidiff_kedro.pipelines import finals, stages
from rsidiff_kedro.pipelines.common import SELECTING
from rsidiff_kedro.pipelines.stage import Place, Stage, bind, by_rounds, compose, round_of

STAGES = ["prompt_curation", "synthesis", "preference_selection", "weighting", "finetune", "gate", "evaluation"]


@pytest.fixture(autouse=True)
def three_rounds() -> None:
    set_rounds(3)


def whole(rounds: int) -> Pipeline:
    """Return the method without what reads all rounds at once."""
    return compose([stage for stage in stages() if stage.place is not Place.AFTER], rounds)["rsi"]


def node_of(pipeline: Pipeline, output: str) -> Node:
    return next(node for node in pipeline.nodes if output in node.outputs)


def test_all_pipelines_have_their_names() -> None:
    assert {"rsi", "__default__", "report", "sft", "base_model", *STAGES} == set(register_pipelines())


def test_the_default_is_rsi() -> None:
    registered = register_pipelines()
    assert registered["__default__"] is registered["rsi"]


def test_rsi_is_its_stages_and_the_report() -> None:
    registered = register_pipelines()
    parts = sum(len(registered[name].nodes) for name in [*STAGES, "report"])
    assert len(registered["rsi"].nodes) == parts


def test_rsi_needs_nothing_but_parameters() -> None:
    assert all(name.startswith("params:") for name in register_pipelines()["rsi"].inputs())


def test_what_asks_which_rewards_select_reads_all_that_says_it() -> None:
    """Other steps score by the rewards or compare their mean."""
    by_weight = {"score_images", "score_validation_images", "score_test_images", "pass_gate"}
    readers = [
        node for node in register_pipelines()["rsi"].nodes if "params:preference_selection.rewards" in node.inputs
    ]
    readers = [node for node in readers if node.name.rpartition(".")[2] not in by_weight]
    names = {"measure", "summarize", "make_reward_plot", "show_training_samples"}
    assert {node.name.rpartition(".")[2] for node in readers} == names
    assert all({*SELECTING} <= {*node.inputs} for node in readers)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_holds_that_stage_of_every_round(stage: str) -> None:
    nodes = register_pipelines()[stage].nodes
    assert all(stage in node.tags for node in nodes)
    if stage != "prompt_curation":
        assert {f"rsi.round_{number}.{stage}" for number in (1, 2, 3)} <= {node.namespace for node in nodes}


def test_one_round_can_be_taken_by_its_namespace() -> None:
    outputs = whole(3).only_nodes_with_namespaces(["rsi.round_2"]).all_outputs()
    assert {"rsi.round_2.images", "rsi.round_2.candidate", "rsi.round_2.gate", "rsi.round_2.metrics"} <= outputs
    assert all(name.startswith("rsi.round_2.") for name in outputs)


def test_one_stage_of_a_round_can_be_taken_by_its_namespace() -> None:
    outputs = whole(3).only_nodes_with_namespaces(["rsi.round_2.weighting"]).all_outputs()
    assert outputs == {"rsi.round_2.weights", "rsi.round_2.training_samples"}


def test_every_node_lies_in_a_box_of_the_first_view_which_reads_curation_rounds_report() -> None:
    pipeline = compose(stages(), 3)["rsi"]
    boxes = [node.namespace_prefixes[0] for node in by_rounds(pipeline)]
    assert list(dict.fromkeys(boxes)) == ["prompt_curation", "rsi", "report"]


def test_rounds_run_one_after_the_other_and_each_node_after_what_it_needs() -> None:
    pipeline = whole(3)
    nodes = list(by_rounds(pipeline))
    numbers = [found.number for node in nodes if (found := round_of(node)) is not None]
    assert numbers == sorted(numbers)
    place = {node: position for position, node in enumerate(nodes)}
    assert place.keys() == {*pipeline.nodes}
    for node, needed in pipeline.node_dependencies.items():
        assert all(place[each] < place[node] for each in needed)


def test_a_stage_apart_in_the_same_run_mixes_with_no_round() -> None:
    pipeline = whole(2) + register_pipelines()["sft"]
    places = [".".join((node.namespace or "").split(".")[:2]) for node in by_rounds(pipeline)]
    rounds = [place for place, before in zip(places, [None, *places]) if place != before and "round_" in place]
    assert rounds == ["rsi.round_0", "rsi.round_1", "sft.round_1", "rsi.round_2"]


def test_a_round_starts_from_the_adapter_that_passed_the_gate_before_it() -> None:
    pipeline = whole(3)
    assert "rsi.round_1.adapter" in node_of(pipeline, "rsi.round_2.images").inputs
    assert "rsi.round_1.adapter" in node_of(pipeline, "rsi.round_2.candidate").inputs
    assert "rsi.round_0.adapter" in node_of(pipeline, "rsi.round_1.images").inputs


def test_weights_compare_every_round_with_the_bases_own_images() -> None:
    pipeline = whole(3)
    for number in (1, 2, 3):
        assert "base_images" in node_of(pipeline, f"rsi.round_{number}.weights").inputs
    assert node_of(pipeline, "base_images").inputs == ["rsi.round_1.images"]


def test_the_training_set_grows_out_of_the_one_before_it() -> None:
    pipeline = whole(3)
    assert "rsi.round_2.training_set" in node_of(pipeline, "rsi.round_3.training_set").inputs
    assert not [name for name in node_of(pipeline, "rsi.round_1.training_set").inputs if "round_0" in name]


def test_the_judge_and_the_test_prompts_take_no_part_in_what_goes_on() -> None:
    ancestors = whole(3).to_outputs("rsi.round_3.adapter")
    assert not [name for name in ancestors.all_inputs() if "test_" in name and not name.startswith("params:")]
    assert "rsi.round_3.validation_images" in ancestors.all_outputs()


def test_a_round_that_is_not_tested_has_metrics_and_no_test() -> None:
    pipeline = compose(stages(), 5, [0, 3, 5])["rsi"]
    tested = {name for name in pipeline.all_outputs() if "test_" in name and name.startswith("rsi.")}
    assert tested == {f"rsi.round_{number}.{name}" for number in (0, 3, 5) for name in ("test_images", "test_scores")}
    assert {f"rsi.round_{number}.metrics" for number in range(6)} <= pipeline.all_outputs()
    report = node_of(pipeline, "report").inputs
    assert [name for name in report if name.endswith("test_scores")] == [
        f"rsi.round_{number}.test_scores" for number in (0, 3, 5)
    ]
    assert len([name for name in report if name.endswith("metrics")]) == 6


def test_a_test_may_take_the_images_of_the_last_test_before() -> None:
    pipeline = compose(stages(), 5, [0, 3, 5])["rsi"]
    for last, number in ((0, 3), (3, 5)):
        inputs = node_of(pipeline, f"rsi.round_{number}.test_images").inputs
        assert {f"rsi.round_{last}.{name}" for name in ("adapter", "test_images")} <= {*inputs}
    assert not [name for name in node_of(pipeline, "rsi.round_0.test_images").inputs if name.endswith("images")]


def test_rounds_is_an_input_of_no_node() -> None:
    assert "params:rounds" not in register_pipelines()["rsi"].inputs()


def test_more_rounds_leave_the_first_ones_as_they_are() -> None:
    def described(pipeline: Pipeline) -> set[str]:
        return {str(node) for node in pipeline.nodes}

    assert described(whole(2)) < described(whole(4))


def test_the_gate_alone_decides_about_validation_images() -> None:
    outputs = register_pipelines()["gate"].all_outputs()
    kinds = {name.rpartition(".")[2] for name in outputs}
    assert kinds == {"validation_images", "candidate_scores", "validation_scores", "adapter", "gate"}
    assert not [name for name in register_pipelines()["evaluation"].all_outputs() if "validation" in name]


def test_a_stage_that_is_added_is_part_of_the_method_and_a_pipeline_of_its_own() -> None:
    def count(images: object, previous: object, seed: int, round_number: int) -> int:
        return round_number

    def create(round_number: int) -> Pipeline:
        function = bind(count, round_number=round_number)
        return Pipeline([Node(function, ["images", "previous", "params:seed"], "counted", name="count")])

    added = Stage("counting", Place.TRAINED_ROUNDS, create, from_parent={"previous": "prompts"})
    composed = compose([*stages(), added], 3)
    made = node_of(composed["rsi"], "rsi.round_3.counted")
    assert made.inputs == ["rsi.round_3.images", "rsi.round_2.prompts", "params:seed"]
    names = {f"rsi.round_{number}.counting.count" for number in (1, 2, 3)}
    assert {node.name for node in composed["counting"].nodes} == names
    assert all("counting" in node.tags for node in composed["counting"].nodes)
    assert set(composed["rsi"].nodes) - set(composed["counting"].nodes) == set(compose(stages(), 3)["rsi"].nodes)


def test_a_hundred_rounds_are_built_in_seconds() -> None:
    start = time.process_time()
    nodes = whole(100).nodes
    assert len(nodes) > 1000
    assert time.process_time() - start < 20


def test_what_completes_a_run_is_read_without_importing_the_stages() -> None:
    assert finals() == {stage.final for stage in stages() if stage.final}
