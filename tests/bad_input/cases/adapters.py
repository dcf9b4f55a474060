"""Adapters: those of earlier rounds that are missing, damaged, or belong to another model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file

from cases.case import Case, Place
from rsidiff_kedro.core.adapter import INFO_NAME, WEIGHTS_NAME, Adapter
from rsidiff_kedro.datasets import AdapterDataset

ROUND = ("run", "--env=test", "--namespaces=rsi.round_2.synthesis")
TEST = (
    "run",
    "--env=test",
    "--nodes=rsi.round_1.evaluation.generate_test_images",
    "--params=sampler.num_inference_steps=1",  # as of the base's images
)
ADAPTER = "06_models/rsi/round_1/adapter"
NEVER = "2020-01-01T00.00.00.000Z"


def _folder(data: Path) -> Path:
    return next((data / ADAPTER).glob("*/adapter"))


def _damaged(
    wrong: str,
    says: str,
    damage: Callable[[Path], None],
    arguments: tuple[str, ...] = ROUND,
    process: bool = False,
    late: bool = False,
) -> Case:
    """A case of the first round's adapter, which the second goes on from."""

    def set_up(place: Place) -> None:
        damage(_folder(place.finish_a_run()))

    return Case("adapters", wrong, says, arguments, set_up, process, late)


def _lose_the_weights(folder: Path) -> None:
    (folder / WEIGHTS_NAME).unlink()


def _lose_the_info(folder: Path) -> None:
    (folder / INFO_NAME).unlink()


def _cut_the_weights(folder: Path) -> None:
    (folder / WEIGHTS_NAME).write_bytes((folder / WEIGHTS_NAME).read_bytes()[:2000])


def _empty_weights(folder: Path) -> None:
    (folder / WEIGHTS_NAME).write_bytes(b"")


def _cut_the_info(folder: Path) -> None:
    (folder / INFO_NAME).write_text("{")


def _list_as_info(folder: Path) -> None:
    (folder / INFO_NAME).write_text("[]")


def _change_a_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_NAME)
    next(iter(weights.values())).add_(1)
    save_file(weights, folder / WEIGHTS_NAME)


def _name_another_base(folder: Path) -> None:
    info = json.loads((folder / INFO_NAME).read_text())
    del info["base_fingerprint"]  # as of older adapters; where it is known, names do not count
    (folder / INFO_NAME).write_text(json.dumps(info | {"base_model": "./other"}))


def _change_all(change: Callable[[Adapter], Adapter]) -> Callable[[Path], None]:
    """A change with a right digest, as of an adapter that was saved so."""

    def damage(folder: Path) -> None:
        dataset = AdapterDataset(filepath=str(folder))
        dataset.save(change(dataset.load()))

    return damage


def _other_width(adapter: Adapter) -> Adapter:
    wider = {name: each.repeat(1, 2, *[1] * (each.ndim - 2)) for name, each in adapter.weights.items()}
    return Adapter(wider, adapter.info)


def _other_layers(adapter: Adapter) -> Adapter:
    renamed = {name.replace("unet.", "unet.other."): each for name, each in adapter.weights.items()}
    return Adapter(renamed, adapter.info)


def _finished(place: Place) -> None:
    place.finish_a_run()


def _with_another_model(place: Place) -> None:
    place.finish_a_run()
    place.copy(place.materials.model, "model")


def _to_be_reused(place: Place) -> None:
    """A round's candidate is gone, and the adapter that it is made from is cut."""
    data = place.finish_a_run() / "06_models/rsi"
    shutil.rmtree(data / "round_1/candidate")
    _cut_the_weights(next((data / "round_0/adapter").glob("*/adapter")))


CASES = (
    Case(
        "adapters",
        "the round before was never run",
        "run what makes it first: kedro run --pipelines=",
        ROUND,
        process=True,
    ),
    _damaged("the weights are gone", f"lacks {WEIGHTS_NAME}", _lose_the_weights),
    _damaged("the weights are cut", "is no readable safetensors file", _cut_the_weights, process=True),
    _damaged("the weights are empty", "is no readable safetensors file", _empty_weights),
    _damaged("its info is gone", f"lacks {INFO_NAME}", _lose_the_info),
    _damaged("its info is no JSON", "is no readable JSON", _cut_the_info),
    _damaged("its info is a list", "must hold a JSON object, not list; make the adapter anew", _list_as_info),
    _damaged(
        "its weights are not those of its digest", "one of the two was changed after it was saved", _change_a_weight
    ),
    _damaged("its info names another base model", "set model.base=./other", _name_another_base),
    Case(
        "adapters",
        "the base model is another than it was trained on",
        "; set model.base=scenes, or run all rounds again",
        (*ROUND, "--params=evaluation.judge=null,model.base=model"),
        _with_another_model,
    ),
    _damaged("it is of a wider network", "does not fit the model", _change_all(_other_width), TEST, late=True),
    _damaged("it is of other layers", "does not fit the model", _change_all(_other_layers), TEST, late=True),
    Case(
        "adapters",
        "a version that was never made",
        f"rsi.round_1.adapter has no version '{NEVER}'",
        (*ROUND, f"--load-versions=rsi.round_1.adapter:{NEVER}"),
        _finished,
    ),
    Case(
        "adapters",
        "a version of what does not exist",
        "rsi.round_1.adaptor",
        (*ROUND, f"--load-versions=rsi.round_1.adaptor:{NEVER}"),
        _finished,
    ),
    Case(
        "adapters",
        "a version without its dataset",
        "found newest instead",
        (*ROUND, "--load-versions=newest"),
    ),
    Case(
        "adapters",
        "it is cut, and to be gone on from",
        "is no readable safetensors file",
        ("run", "--env=test", "--nodes=rsi.round_1.finetune.finetune", "--only-missing-outputs"),
        _to_be_reused,
    ),
)
