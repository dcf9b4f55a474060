"""Train with copies in several workers, each of which computes some micro-batches; the result is that of one process.

The sum of gradients goes from copy to copy, each adding its own in the order of micro-batches, and the total goes to
all. That sends one adapter per copy and step, where gathering all gradients would send one per micro-batch.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.core.tensor_files import load_tensors, save_tensors
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.portable_adapter import PortableAdapter
from rsidiff_kedro.diffusion.replica import Gradients, Plan, Replica, TrainingRows
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.execution.engine import Replicas

_ROWS, _TEXTS = "training_set.safetensors", "training_texts.json"


class Training(NamedTuple):
    """Name what a worker opens: a model, an adapter, and a training set in a folder that all machines share."""

    model: ModelSettings
    parent: PortableAdapter
    plan: Plan
    folder: Path
    checkpoint: Path

    @classmethod
    def write(
        cls, model: ModelSettings, parent: Adapter, rows: TrainingRows, plan: Plan, checkpoint: Path
    ) -> "Training":
        """Write beside the checkpoint what workers read."""
        folder = checkpoint.absolute().parent
        save_tensors({"latents": rows.latents, "weights": rows.weights}, folder / _ROWS)
        with replacing(folder / _TEXTS) as partial:
            partial.write_text(json.dumps(rows.texts), encoding="utf-8")
        return cls(model, PortableAdapter.write(parent, folder), plan, folder, folder / checkpoint.name)

    def open(self) -> "Copy":
        """Open a copy, which continues the checkpoint."""
        tensors = load_tensors(self.folder / _ROWS)
        if tensors is None:
            raise ModelError(
                f"{self.folder / _ROWS} is not on this machine; the folder data/ must be the same on every machine"
            )
        rows = TrainingRows(**tensors, texts=json.loads((self.folder / _TEXTS).read_text("utf-8")))
        return Copy(Replica(load_model(self.model), self.parent.read(), rows, self.plan, self.checkpoint))


class Copy:
    """A replica whose methods take one argument, which can be sent."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def start(self, _: None) -> int:
        """See `Replica.start`."""
        return self._replica.start()

    def backward(self, given: tuple[int, list[int]]) -> list[float]:
        """Compute a step's micro-batches of these numbers."""
        return self._replica.backward(*given)

    def add(self, before: Gradients | None) -> Gradients:
        """See `Replica.add`."""
        return self._replica.add(before)

    def update(self, total: Gradients) -> None:
        """See `Replica.update`."""
        self._replica.update(total)

    def save(self, losses: list[float]) -> None:
        """See `Replica.save`."""
        self._replica.save(losses)

    def finish(self, losses: list[float]) -> tuple[PortableAdapter, list[float]]:
        """See `Replica.finish`; the adapter is a file."""
        adapter, losses = self._replica.finish(losses)
        assert self._replica.checkpoint is not None
        return PortableAdapter.write(adapter, self._replica.checkpoint.parent), losses


class DataParallel:
    """Copies that take a training's steps together; its methods are those of `Replica`."""

    def __init__(self, replicas: Replicas, plan: Plan) -> None:
        self._replicas = replicas
        self._parts = [part.tolist() for part in np.array_split(np.arange(plan.micro_batches), replicas.size)]

    def start(self) -> int:
        """Return the number of finished steps, on which all copies agree."""
        (steps,) = {*self._all("start", None)}
        return steps

    def backward(self, step: int) -> list[float]:
        """Return the losses of the step's micro-batches, in their order."""
        losses = self._replicas.each("backward", [(step, part) for part in self._parts])
        return [loss for part in losses for loss in part]

    def update(self) -> None:
        """Add the gradients and take the step everywhere."""
        self._all("update", self._replicas.chain("add", None))

    def save(self, losses: list[float]) -> None:
        """Have one copy write the state."""
        self._replicas.each("save", [losses])

    def finish(self, losses: list[float]) -> tuple[Adapter, list[float]]:
        """Return the adapter and the losses of all steps."""
        ((adapter, all_losses),) = self._replicas.each("finish", [losses])
        return adapter.read(), all_losses

    def _all(self, method: str, argument: Any) -> list[Any]:
        return self._replicas.each(method, [argument] * self._replicas.size)
