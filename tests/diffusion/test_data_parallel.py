"""A training in one process, on one, two or four copies, and after a copy was lost ends in the same bytes."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings
from rsidiff_kedro.diffusion.training import TrainingError, finetune, initial_adapter
from rsidiff_kedro.execution.engine import ExecutionError, Opening, WorkerLost, set_engine
from rsidiff_kedro.execution.local import LocalEngine

SETTINGS = FinetuneSettings(
    rank=2,
    lora_dropout=0.2,
    steps=4,
    batch_size=7,
    micro_batch_size=2,
    learning_rate=1e-2,
    checkpoint_every=2,
    ema_decay=0.5,
)
"""Four micro-batches a step, the last with one image."""


class PickledCopies:
    """Copies in this process that are opened, called and answer through pickle, as in other processes."""

    def __init__(self, opening: Opening, size: int, lost_at: list[tuple[str, int]]) -> None:
        self.opened = [pickle.loads(pickle.dumps(opening)).open() for _ in range(size)]
        self.size, self.lost_at, self.step = size, lost_at, -1

    def call(self, place: int, method: str, argument: Any) -> Any:
        return pickle.loads(pickle.dumps(getattr(self.opened[place], method)(pickle.loads(pickle.dumps(argument)))))

    def each(self, method: str, arguments: Sequence[Any]) -> list[Any]:
        if method == "backward":
            self.step = arguments[0][0]
        if (method, self.step) in self.lost_at:
            self.lost_at.remove((method, self.step))
            raise WorkerLost("killed")
        return [self.call(place, method, argument) for place, argument in enumerate(arguments)]

    def chain(self, method: str, value: Any) -> Any:
        for place in range(self.size):
            value = self.call(place, method, value)
        return value


class CopiesEngine(LocalEngine):
    def __init__(self, size: int, lost_at: Sequence[tuple[str, int]] = ()) -> None:
        self.size, self.lost_at, self.opened = size, list(lost_at), list[int]()

    def replicas(self, opening: Opening, most: int) -> PickledCopies:
        self.opened.append(min(self.size, most))
        return PickledCopies(opening, self.opened[-1], self.lost_at)


@pytest.fixture(autouse=True)
def _end_of_run() -> Iterator[None]:
    yield
    set_engine(None)


@pytest.fixture(scope="module")
def training_set(model: ModelSettings) -> TrainingSet:
    latents = torch.randn((9, *load_model(model).latent_shape), generator=torch.Generator().manual_seed(0))
    texts = [f"a {color} circle" for color in ("red", "green", "blue")] * 3
    rows = {"image_id": [f"i{row}" for row in range(9)], "prompt_id": texts, "text": texts, "round": 1}
    return TrainingSet(pd.DataFrame(rows).assign(weight=[0.5, 1.0, 1.5] * 3), latents)


@pytest.fixture(scope="module")
def parent(model: ModelSettings) -> Adapter:
    return initial_adapter(load_model(model), SETTINGS, seed=0)


@pytest.fixture(scope="module")
def alone(model: ModelSettings, parent: Adapter, training_set: TrainingSet) -> tuple[Adapter, pd.DataFrame]:
    return finetune(load_model(model), parent, training_set, SETTINGS, 0, 1)


def assert_equal(one: tuple[Adapter, pd.DataFrame], other: tuple[Adapter, pd.DataFrame]) -> None:
    assert one[0].digest == other[0].digest
    assert list(one[0].info.items()) == list(other[0].info.items())
    pd.testing.assert_frame_equal(one[1], other[1], check_exact=True)


@pytest.mark.parametrize("copies", [1, 2, 4, 9])
def test_any_number_of_copies_trains_the_same_adapter(model, parent, training_set, alone, tmp_path, copies) -> None:
    engine = CopiesEngine(copies)
    set_engine(engine)
    assert_equal(finetune(model, parent, training_set, SETTINGS, 0, 1, tmp_path), alone)
    assert engine.opened == [min(copies, 4)], "no more copies than micro-batches"


def test_copies_record_what_the_parent_has(model, parent, training_set, alone, tmp_path) -> None:
    set_engine(CopiesEngine(2))
    others = SETTINGS.model_copy(update={"rank": 5, "layers": "attention", "lora_alpha": 64.0})
    assert_equal(finetune(model, parent, training_set, others, 0, 1, tmp_path), alone)


@pytest.mark.parametrize("lost_at", [("backward", 0), ("update", 1), ("backward", 3), ("finish", 3)])
def test_after_a_loss_all_go_on_from_the_last_checkpoint(model, parent, training_set, alone, tmp_path, lost_at) -> None:
    engine = CopiesEngine(2, [lost_at])
    set_engine(engine)
    assert_equal(finetune(model, parent, training_set, SETTINGS, 0, 1, tmp_path), alone)
    assert len(engine.opened) == 2


def test_a_step_that_always_ends_a_worker_ends_the_run(model, parent, training_set, tmp_path) -> None:
    set_engine(CopiesEngine(2, [("backward", 2)] * 3))
    with pytest.raises(ExecutionError, match=r"ended 3 workers after step 2.*lower finetune.micro_batch_size"):
        finetune(model, parent, training_set, SETTINGS, 0, 1, tmp_path)


@pytest.mark.parametrize("first", ["here", "copies"])
def test_another_engine_continues_a_training(model, parent, training_set, alone, tmp_path: Path, first: str) -> None:
    half = SETTINGS.model_copy(update={"steps": 2})
    engines = [None, CopiesEngine(3)]
    for settings, engine in zip((half, SETTINGS), engines if first == "here" else engines[::-1], strict=True):
        set_engine(engine)
        trained = finetune(model, parent, training_set, settings, 0, 1, tmp_path)
    assert len(trained[1]) == 4
    assert trained[0].digest == alone[0].digest


def test_a_users_error_in_a_copy_is_not_tried_again(model, parent, training_set, tmp_path) -> None:
    engine = CopiesEngine(2)
    set_engine(engine)
    broken = TrainingSet(training_set.metadata.assign(weight=float("inf")), training_set.latents)
    with pytest.raises(TrainingError, match="learning_rate"):
        finetune(model, parent, broken, SETTINGS, 0, 1, tmp_path)
    assert engine.opened == [2]


def test_the_noise_of_a_micro_batch_does_not_depend_on_the_others(model, parent, training_set, alone) -> None:
    """Of one micro-batch as large as the batch it is what it was before there were others."""
    whole = SETTINGS.model_copy(update={"micro_batch_size": None})
    one = finetune(load_model(model), parent, training_set, whole, 0, 1)
    same = finetune(load_model(model), parent, training_set, whole.model_copy(update={"micro_batch_size": 7}), 0, 1)
    assert one[0].digest == same[0].digest != alone[0].digest
