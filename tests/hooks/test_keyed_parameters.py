"""A key holds what a parameter means and what lies there; nothing else of the machine changes it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from rsidiff_kedro import pipeline_registry
from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.diffusion.bases import base_record, model_source
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
from rsidiff_kedro.parameters import Parameters, parse_parameters

Key = Callable[..., Any]
FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def key(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Key:
    """`key("model", model={"base": "x"})`: what the key of a step that reads `model` holds under these parameters."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    commit_of.cache_clear()

    def key(*names: str, root: Path = project, **params: Any) -> Any:
        parameters = located(root, **params)
        values = {name: _at(parameters.model_dump(), name) for name in names}
        found = KeyedParameters(parameters, root).of_step(values)
        return found if len(names) > 1 else found[names[0]]

    return key


def located(root: Path, **params: Any) -> Parameters:
    return parse_parameters(_project_parameters(root, params)).within(root)


def _project_parameters(root: Path, params: dict[str, Any]) -> dict[str, Any]:
    before = Path.cwd()
    os.chdir(root)
    try:
        return open_configuration("test", params)[1]["parameters"]
    finally:
        os.chdir(before)


def _at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree[int(part)] if isinstance(tree, list) else tree[part]
    return tree


def write(path: Path, content: str = "1") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


PLACES = {
    "model.base": lambda place: {"model": {"base": place}},
    "rewards.pick_score.checkpoint": lambda place: {"rewards": {"pick_score": {"checkpoint": place}}},
    "rewards.pick_score.tokenizer": lambda place: {"rewards": {"pick_score": {"tokenizer": place}}},
    "rewards.clip_score.tokenizer": lambda place: {"rewards": {"clip_score": {"tokenizer": place}}},
    "rewards.aesthetic.clip": lambda place: {"rewards": {"aesthetic": {"clip": place}}},
    "prompt_curation.source.path": lambda place: {"prompt_curation": {"source": {"kind": "file", "path": place}}},
    "prompt_curation.source.dataset": lambda place: {
        "prompt_curation": {"source": {"kind": "hub", "dataset": place, "revision": "main"}}
    },
    "sft.images": lambda place: {"sft": {"images": place}},
    "rewards.custom.mine:Reward.weights": lambda place: {"rewards": {"custom": {"mine:Reward": {"weights": place}}}},
    "model.options.extra": lambda place: {"model": {"options": {"extra": place}}},
}
"""Every parameter that names a place, by its path."""


def test_every_parameter_that_names_a_place_is_tried(project: Path) -> None:
    write(project / "a")
    rewards = {"custom": {"mine:Reward": {"weights": "./a"}}, "clip_score": {"tokenizer": "./a"}}
    own = {"rewards": rewards, "model": {"options": {"extra": "./a"}}}
    files = {"prompt_curation": {"source": {"kind": "file", "path": "a"}}}
    found = dict(KeyedParameters(located(project, **own, **files), project)._marked)
    places = {path for path, each in found.items() if type(each.mark).__name__ == "Location"}
    sections = {"hpsv2": "checkpoint tokenizer", "image_reward": "checkpoint tokenizer", "clip_score": "checkpoint"}
    same = {f"rewards.{name}.{field}" for name, fields in sections.items() for field in fields.split()}
    others = {"rewards.aesthetic.checkpoint", "rewards.votes.votes"}  # the latter has a test of its own
    assert places | {"prompt_curation.source.dataset"} == PLACES.keys() | same | others


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("written", ["./mine/folder", "~/mine/folder", "mine/folder"])
def test_what_lies_there_counts_wherever_the_command_runs(
    key: Key, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, written: str
) -> None:
    place = (tmp_path / "home" if written.startswith("~") else project) / "mine/folder"
    write(place / "part" / "weights", "1")
    parameters = PLACES[name](written)
    before = key(name, **parameters)
    assert _at_path(located(project, **parameters), name) == place  # what is loaded
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert key(name, **parameters) == before
    assert _at_path(located(project, **parameters), name) == place
    write(place / "part" / "weights", "12")
    assert key(name, **parameters) != before


@pytest.mark.parametrize("name", PLACES)
def test_a_hidden_file_counts_only_where_a_plug_in_may_read_it(key: Key, project: Path, name: str) -> None:
    write(project / "mine/folder/weights")
    before = key(name, **PLACES[name]("mine/folder"))
    write(project / "mine/folder/.cache/weights.metadata")
    is_own = "custom" in name or "options" in name
    assert (key(name, **PLACES[name]("mine/folder")) != before) == is_own


def _at_path(parameters: Parameters, name: str) -> Path:
    *sections, last = name.split(".")
    value: Any = parameters
    for section in sections:
        value = value[section] if isinstance(value, dict) else getattr(value, section)
    return Path(value[last] if isinstance(value, dict) else getattr(value, last)).resolve()


OWN_SOURCES = """
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.source import Source


class Part(BaseModel):
    path: str


class Poems(Source):
    kind: Literal["own_sources:Poems"] = "own_sources:Poems"
    path: str = "poems/old.txt"
    more: list[str] = []
    parts: dict[str, Part] = {}
    between: str = "."
    place: Path | None = None

    def collect(self, seed: int) -> pd.DataFrame:
        return prompt_table(open(self.path).read().split(self.between), "poems")


class Named(FileSource):
    kind: Literal["own_sources:Named"] = "own_sources:Named"
    names: str
"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("path", {"kind": "own_sources:Poems", "path": "poems/new.txt"}),
        ("path", {"kind": "own_sources:Poems", "path": "~/poems/new.txt"}),
        ("path", {"kind": "own_sources:Poems"}),
        ("more.0", {"kind": "own_sources:Poems", "more": ["poems/new.txt", "a fox. An owl"]}),
        ("parts.a.path", {"kind": "own_sources:Poems", "parts": {"a": {"path": "poems/new.txt"}}}),
        ("place", {"kind": "own_sources:Poems", "path": "other", "place": "poems/new.txt"}),
        ("names", {"kind": "own_sources:Named", "path": "poems/old.txt", "names": "poems/new.txt"}),
    ],
)
def test_files_of_ones_own_prompt_source_are_found_and_counted_by_their_content(
    key: Key, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    write(tmp_path / "modules/own_sources.py", OWN_SOURCES)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    texts = [each / "poems" / file for each in (project, tmp_path / "home") for file in ("old.txt", "new.txt")]
    for each in texts:
        write(each, "a fox in the snow")
    given = {"prompt_curation": {"source": options}}
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = located(project, **given).model_dump()["prompt_curation"]["source"]
    place = Path(_at(source, name))
    assert place in texts
    assert source.get("between", ".") == "." and source.get("more", [])[1:] in ([], ["a fox. An owl"])
    before = key("prompt_curation.source", **given)
    assert key("prompt_curation.source", **given) == before
    write(place, "an owl at night")
    assert key("prompt_curation.source", **given) != before


def test_a_linked_folder_within_a_model_is_followed_and_a_link_in_a_circle_ends(
    key: Key, project: Path, tmp_path: Path
) -> None:
    write(project / "model/model_index.json")
    weights = write(tmp_path / "disk/unet/weights")
    (project / "model/unet").symlink_to(weights.parent, target_is_directory=True)
    (weights.parent / "up").symlink_to(project / "model", target_is_directory=True)
    before = key("model", model={"base": "./model"})
    assert key("model", model={"base": "./model"}) == before
    write(weights, "12")
    assert key("model", model={"base": "./model"}) != before


def test_a_folder_named_as_a_shipped_model_is_neither_opened_nor_counted(
    key: Key, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, before = model_source("scenes"), key("model", "model.base")
    write(project / "scenes/model_index.json")
    (tmp_path / "elsewhere/scenes").mkdir(parents=True)
    assert (model_source("scenes"), key("model", "model.base")) == (source, before)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert (model_source("scenes"), key("model", "model.base")) == (source, before)
    assert before["model.base"] == f"scenes ({base_record('scenes', None)['base_fingerprint']})"


def test_a_project_may_be_moved(key: Key, project: Path, tmp_path: Path) -> None:
    write(project / "mine/prompts.txt", "a red circle")
    source = {"prompt_curation": {"source": {"kind": "file", "path": "mine/prompts.txt"}}}
    before = key("prompt_curation.source", **source)
    moved = shutil.move(project, tmp_path / "moved")
    assert key("prompt_curation.source", root=Path(moved), **source) == before


def test_a_project_with_the_runs_of_studies_in_it_may_be_moved(project: Path, tmp_path: Path) -> None:
    """Such a run is a project of its own, which gets absolute paths; what lies around both keeps its place."""

    def run_key(project: Path, *places: str) -> list[Any]:
        run, found = project / "data/study/mine/one/seed_0", []
        for place in places:
            parameters = located(project, prompt_curation={"source": {"kind": "file", "path": place}})
            source = parameters.model_dump()["prompt_curation"]["source"]
            found.append(KeyedParameters(parameters, run).of_step({"prompt_curation.source": source}))
        return found

    outside = str(write(tmp_path / "elsewhere/prompts.txt", "a red circle"))
    write(project / "mine/prompts.txt", "a red circle")
    before = run_key(project, "mine/prompts.txt", outside)
    moved = shutil.move(project, tmp_path / "moved")
    assert run_key(Path(moved), "mine/prompts.txt", outside) == before
    assert outside in str(before[1]) and str(tmp_path) not in str(before[0])


@pytest.mark.parametrize(
    ("name", "reward"),
    [
        ("config.json", {"hpsv2": {"checkpoint": "weights/a.pt"}}),
        ("med_config.json", {"image_reward": {"checkpoint": "weights/a.pt"}}),
        ("config.json", {"aesthetic": {"clip": "weights/a.pt"}}),
        ("preprocessor_config.json", {"clip_score": {"checkpoint": "weights/a.pt"}}),
        ("preprocessor_config.json", {"aesthetic": {"clip": "weights/a.pt"}}),
        ("processor_config.json", {"clip_score": {"checkpoint": "weights/a.pt"}}),
        ("vocab.json", {"clip_score": {"checkpoint": "weights/a.pt"}}),
        ("merges.txt", {"clip_score": {"checkpoint": "weights/a.pt"}}),
        ("tokenizer.4.0.0.json", {"clip_score": {"checkpoint": "weights/a.pt"}}),
        ("tokenizer_config.json", {"clip_score": {"tokenizer": "weights/a.pt"}}),
    ],
)
def test_the_configuration_beside_a_checkpoint_counts(key: Key, project: Path, name: str, reward: dict) -> None:
    write(project / "weights/a.pt")
    given = {"rewards": reward}
    before = key("rewards", **given)
    write(project / "weights" / name, "{}")
    assert key("rewards", **given) != before


@pytest.mark.parametrize(
    "reward",
    [
        {"hpsv2": {"checkpoint": "weights/a.pt"}},
        {"image_reward": {"checkpoint": "weights/a.pt"}},
        {"pick_score": {"checkpoint": "weights/a.pt"}},
        {"clip_score": {"checkpoint": "weights/a.pt", "tokenizer": "tokenizer"}},
        {"aesthetic": {"checkpoint": "weights/a.pt", "clip": "weights/a.pt"}},
    ],
    ids=lambda reward: next(iter(reward)),
)
def test_a_tokenizer_beside_a_checkpoint_that_is_read_with_another_does_not_count(
    key: Key, project: Path, reward: dict
) -> None:
    write(project / "weights/a.pt")
    write(project / "tokenizer/vocab.json", "{}")
    before = key("rewards", rewards=reward)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt"):
        write(project / "weights" / name, "{}")
    assert key("rewards", rewards=reward) == before


def test_an_adapter_records_of_its_base_what_the_key_of_its_step_holds(key: Key, project: Path, tmp_path: Path) -> None:
    write(project / "models/sd/model_index.json")
    write(tmp_path / "hub/models--owner--name/refs/main", FIRST)
    folder, hub = base_record(str(project / "models/sd"), None), base_record("owner/name", "main")
    assert key("model.base", model={"base": "./models/sd"}) == f"models/sd ({folder['base_fingerprint']})"
    given = {"base": "owner/name", "revision": "main"}
    assert key("model.base", model=given) == f"owner/name ({hub['revision']})" == f"owner/name ({FIRST})"


HUB_IDS = {
    "model.base": ("models--owner--name", {"model": {"base": "owner/name"}}),
    "prompt_curation.source": (
        "datasets--owner--name",
        {"prompt_curation": {"source": {"kind": "hub", "dataset": "owner/name", "revision": "main"}}},
    ),
    "rewards": ("models--owner--name", {"rewards": {"pick_score": {"checkpoint": "owner/name"}}}),
}


@pytest.mark.parametrize("name", HUB_IDS)
def test_the_commit_of_a_hub_id_counts(key: Key, tmp_path: Path, name: str) -> None:
    folder, params = HUB_IDS[name]
    rewards = {"evaluation": {"rewards": ["proxy", "pick_score"]}}
    seen = []
    for commit in (FIRST, SECOND, FIRST):
        write(tmp_path / "hub" / folder / "refs/main", commit)
        commit_of.cache_clear()
        seen.append(key(name, "evaluation.rewards", **params, **rewards)[name])
    assert seen[0] == seen[2] != seen[1]
    assert FIRST in str(seen[0])


def test_the_commit_of_a_reward_that_a_step_does_not_name_is_not_asked_for(key: Key, tmp_path: Path) -> None:
    write(tmp_path / "hub/models--yuvalkirstain--PickScore_v1/refs/main", FIRST)
    assert FIRST not in str(key("rewards", "evaluation.rewards"))
    assert commit_of.cache_info().currsize == 0


def test_votes_count_in_steps_that_name_their_reward_alone(key: Key, project: Path) -> None:
    selecting = {"preference_selection": {"rewards": {"votes": 1}}}
    write(project / "data/test/votes/1/votes/votes.parquet", "1")
    read, unread = key("rewards", "preference_selection.rewards", **selecting), key("rewards", "evaluation.rewards")
    write(project / "data/test/votes/2/votes/votes.parquet", "2")
    assert key("rewards", "preference_selection.rewards", **selecting) != read
    assert key("rewards", "evaluation.rewards") == unread
    write(project / "data/test/votes/1/votes/votes.parquet", "3")  # another version than the newest
    newest = key("rewards", "preference_selection.rewards", **selecting)
    write(project / "data/test/votes/1/votes/votes.parquet", "4")
    assert key("rewards", "preference_selection.rewards", **selecting) == newest


def test_the_commit_of_features_that_votes_read_counts(key: Key, tmp_path: Path) -> None:
    write(tmp_path / "hub/models--openai--clip-vit-large-patch14/refs/main", FIRST)
    votes = {"evaluation": {"rewards": ["votes"]}, "rewards": {"votes": {"features": "clip_score"}}}
    assert FIRST in str(key("rewards", "evaluation.rewards", **votes))
    votes["rewards"]["votes"]["features"] = "pick_score"
    assert FIRST not in str(key("rewards", "evaluation.rewards", **votes))


TEMPLATE = {
    "kind": "template",
    "templates": ["a {device} on a {checkpoint_every}"],
    "words": {"device": ["phone", "clock", "radio", "lamp"], "checkpoint_every": ["table", "chair", "shelf", "desk"]},
    "count": 16,
}


@pytest.mark.parametrize("slot", ["device", "checkpoint_every"])
def test_a_slot_named_as_a_setting_that_changes_no_result_counts(key: Key, slot: str) -> None:
    def source(words: list[str]) -> dict[str, Any]:
        sizes = {"pool_size": 4, "prompts_per_round": 2, "validation_size": 2, "test_size": 2}
        return {**sizes, "source": TEMPLATE | {"words": TEMPLATE["words"] | {slot: words}}}  # type: ignore[operator]

    one, other = (
        key("prompt_curation.source", prompt_curation=source(words))
        for words in (["a", "b", "c", "d"], ["a", "b", "c", "e"])
    )
    assert one["words"][slot] == ["a", "b", "c", "d"]
    assert one != other


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("model", {"model": {"device": "auto"}}, {"model": {"device": "cpu"}}),
        ("rewards", {"rewards": {"device": "auto"}}, {"rewards": {"device": "cpu"}}),
        ("finetune", {"finetune": {"checkpoint_every": 1}}, {"finetune": {"checkpoint_every": 2}}),
        ("execution", {"execution": {"engine": "local"}}, {"execution": {"engine": "ray", "workers": 2, "threads": 1}}),
        (
            "base_model",
            {"base_model": {"proxy": {"pairs": {"checkpoint_every": 1}}}},
            {"base_model": {"proxy": {"pairs": {"checkpoint_every": 2}}}},
        ),
    ],
)
def test_what_changes_no_result_does_not_count(key: Key, name: str, one: Any, other: Any) -> None:
    assert key(name, **one) == key(name, **other)


def test_the_quantization_of_text_encoders_counts_in_every_step_that_opens_the_model(key: Key) -> None:
    kinds = (None, "bitsandbytes_8bit", "bitsandbytes_4bit")
    assert len({str(key("model", model={"text_encoder_quantization": kind})) for kind in kinds}) == len(kinds)
    read = [
        (node.name, {name for name in node.inputs if name.split(".")[0] == "params:model"})
        for each in pipeline_registry.register_pipelines().values()
        for node in each.nodes
    ]
    in_part = {name for name, names in read if names and "params:model" not in names}
    assert in_part == {"prompt_curation.filter_prompts"}  # it opens the tokenizers alone


def test_the_option_device_of_ones_own_reward_counts(key: Key) -> None:
    one, other = (key("rewards", rewards={"custom": {"mine:R": {"device": each}}}) for each in ("cpu", "auto"))
    assert one != other


def test_preference_models_count_only_where_the_step_names_one(key: Key) -> None:
    """Synthesis opens one for early dropping alone."""
    named = {"synthesis": {"early_dropping": {"after": 2, "reward": "proxy"}}}
    named["synthesis"]["sampler"] = {"num_inference_steps": 4, "guidance_scale": 2.0, "micro_batch_size": 4}
    names, one, other = ("model", "synthesis", "rewards"), {"micro_batch_size": 3}, {"micro_batch_size": 4}
    own = {"model": {"family": "my_family:Mine"}}
    assert key(*names, rewards=one) == key(*names, rewards=other)
    assert key(*names, rewards=one, **own) == key(*names, rewards=other, **own)
    assert key(*names, rewards=one, **named) != key(*names, rewards=other, **named)
