"""An adapter belongs to the model that it was trained on: to its content, wherever that lies."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pandas as pd
import pytest
import torch

from rsidiff_kedro import scenes
from rsidiff_kedro.core.adapter import Adapter, AdapterError
from rsidiff_kedro.core.hub import commit_of
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.datasets.adapter_folder import adapter_json
from rsidiff_kedro.diffusion.bases import base_record, check_base
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter

SETTINGS = FinetuneSettings(rank=2, layers="attention", steps=1, batch_size=1)
FIRST, SECOND = "a" * 40, "b" * 40
OLD_HUB = Adapter({}, {"base_model": "owner/sd", "revision": "v1"})
OLD_LOCAL = Adapter({}, {"base_model": "./sd", "revision": None})
"""As adapters were recorded without fingerprints and commits."""


@pytest.fixture
def move_branch(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """`move_branch(commit)`: have the main branch of owner/sd mean one of the two commits in the hub's cache."""
    repository = tmp_path / "hub/models--owner--sd"
    for commit in (FIRST, SECOND):
        shutil.copytree(model_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    def move(commit: str) -> None:
        (repository / "refs/main").write_text(commit)
        commit_of.cache_clear()

    yield move
    commit_of.cache_clear()


def trained(model: ModelSettings) -> tuple[Adapter, Adapter]:
    """Return the adapters of rounds 0 and 1."""
    start = initial_adapter(load_model(model), SETTINGS, 0)
    row = {"image_id": ["a"], "prompt_id": ["a"], "text": ["a red circle"], "round": [1], "weight": [1.0]}
    return start, finetune(model, start, TrainingSet(pd.DataFrame(row), torch.ones((1, 4, 16, 16))), SETTINGS, 0, 1)[0]


def test_a_folder_may_be_moved_and_makes_the_same_adapter_elsewhere(model_folder: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(model_folder, before / "models/sd")
    adapters = trained(ModelSettings(base=str(before / "models/sd")))
    shutil.move(before, after)
    place = str(after / "models/sd")
    for name in (".DS_Store", ".cache/huggingface/download/model_index.json.metadata", "unet/.git/index"):
        (Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(place) / name).write_text("what a download and other programs leave")
    for adapter, again in zip(adapters, trained(ModelSettings(base=place)), strict=True):
        check_base(adapter, place, None, "my adapter")
        assert adapter_json(again) == adapter_json(adapter)
        assert str(tmp_path) not in adapter_json(adapter)


def test_a_folder_whose_content_was_replaced_is_refused_with_both_fingerprints(
    model_folder: Path, tmp_path: Path
) -> None:
    place = str(shutil.copytree(model_folder, tmp_path / "sd"))
    adapters, before = trained(ModelSettings(base=place)), base_record(place, None)["base_fingerprint"]
    weights = tmp_path / "sd/unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    after = base_record(place, None)["base_fingerprint"]
    said = (
        f"my adapter was trained on the base model 'sd' with the content {before}, but .*/sd' with {after}; give that"
    )
    for adapter in adapters:
        with pytest.raises(AdapterError, match=said):
            check_base(adapter, place, None, "my adapter")
    for other in ("owner/sd", "scenes"):
        with pytest.raises(AdapterError, match=f"with the content {before}, but model.base is '{other}'.*; give that"):
            check_base(adapters[0], other, None, "my adapter")


def test_without_the_folder_the_name_decides(model_folder: Path, tmp_path: Path) -> None:
    adapter = Adapter({}, base_record(str(model_folder), None))
    check_base(adapter, str(tmp_path / model_folder.name), None, "my adapter")  # what opens it says that it is gone
    with pytest.raises(AdapterError, match=r"but model.base is '.*/other'; give that model again"):
        check_base(adapter, str(tmp_path / "other"), None, "my adapter")


def test_a_folder_with_the_name_of_a_shipped_model_is_another(model_folder: Path, tmp_path: Path) -> None:
    place = str(shutil.copytree(model_folder, tmp_path / "scenes"))
    with pytest.raises(AdapterError, match=r"but model.base is 'scenes'"):
        check_base(Adapter({}, base_record(place, None)), "scenes", None, "my adapter")
    with pytest.raises(AdapterError, match=r"the base model 'scenes' with .*/scenes' with .*; set model.base=scenes,"):
        check_base(Adapter({}, base_record("scenes", None)), place, None, "my adapter")


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_branch_that_has_moved_is_refused_with_both_commits(
    move_branch: Callable[[str], None], revision: str | None
) -> None:
    move_branch(FIRST)
    adapters = trained(ModelSettings(base="owner/sd", revision=revision))
    move_branch(SECOND)
    said = f"on the commit {FIRST} of 'owner/sd', but model.revision .* is {SECOND} now; set model.revision={FIRST}, or"
    for adapter in adapters:
        assert (adapter.info["base_model"], adapter.info["revision"]) == ("owner/sd", FIRST)
        with pytest.raises(AdapterError, match=said):
            check_base(adapter, "owner/sd", revision, "my adapter")
        check_base(adapter, "owner/sd", FIRST, "my adapter")
    with pytest.raises(AdapterError, match=f"set model.base=owner/sd and model.revision={FIRST}, or run all"):
        check_base(adapters[0], "./sd", None, "my adapter")


def test_the_revision_of_an_id_whose_commit_nobody_knows_is_kept_and_compared(
    move_branch: Callable[[str], None],
) -> None:
    assert base_record("owner/other", "v1") == {"base_model": "owner/other", "revision": "v1"}
    check_base(Adapter({}, {"base_model": "owner/other", "revision": FIRST}), "owner/other", "v1", "my adapter")


@pytest.mark.parametrize(("base", "place"), [("scenes", "BASE_FOLDER"), ("scenes_sd3", "SD3_BASE_FOLDER")])
def test_a_shipped_model_that_was_replaced_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, place: str
) -> None:
    adapter = Adapter({}, base_record(base, "v1"))
    assert (adapter.info["base_model"], adapter.info["revision"]) == (base, None)
    check_base(adapter, base, None, "my adapter")
    copied = shutil.copytree(getattr(scenes, place), tmp_path / "assets")
    monkeypatch.setattr(scenes, place, copied)
    check_base(adapter, base, None, "my adapter")
    weights = next(copied.glob("*/diffusion_pytorch_model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    content = adapter.info["base_fingerprint"]
    with pytest.raises(AdapterError, match=f"on the base model '{base}' with the content {content}, but .* '{base}'"):
        check_base(adapter, base, None, "my adapter")


def test_an_older_adapter_of_another_base_is_refused() -> None:
    with pytest.raises(AdapterError, match=r"my adapter was trained on the base model './sd', but model.base is 'x'"):
        check_base(OLD_LOCAL, "x", None, "my adapter")


def test_an_older_adapter_of_another_revision_is_refused_where_both_are_given() -> None:
    said = r"my adapter was trained on revision 'v1' of 'owner/sd', but model.revision is 'v2'; set model.revision=v1"
    with pytest.raises(AdapterError, match=said):
        check_base(OLD_HUB, "owner/sd", "v2", "my adapter")
    for revision in ("v1", None):
        check_base(OLD_HUB, "owner/sd", revision, "my adapter")
    check_base(OLD_LOCAL, "./sd", "v2", "my adapter")
    check_base(Adapter({}, {}), "owner/sd", "v2", "my adapter")
