"""Work that Ray's workers import by name, and a driver to be killed: `python ray_work.py ADDRESS DATA FOLDER`."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import pinned
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.early_dropping import EarlyDropping
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, Runtime, SamplerSettings
from rsidiff_kedro.execution.engine import ExecutionSettings, Task, set_engine
from rsidiff_kedro.execution.local import Shard
from rsidiff_kedro.execution.partial_results import PartialResults
from rsidiff_kedro.scenes.world.grammar import COLORS

MODEL = ModelSettings(base="scenes", device="cpu")
SAMPLER = SamplerSettings(num_inference_steps=3, micro_batch_size=2)
PROMPTS = pd.DataFrame({"prompt_id": list("abcdef"), "text": [f"a {color} circle" for color in list(COLORS)[:6]]})


@dataclass(frozen=True)
class Troubled(Task[str, torch.Tensor]):
    """Does as it is told: "work", or "kill 2", "fail 1" or "refuse 9", which go wrong so many times."""

    folder: Path

    def open(self) -> Callable[[Shard, str], torch.Tensor]:
        return self.run

    def run(self, shard: Shard, given: str) -> torch.Tensor:
        trouble, times = (given + " 0").split()[:2]
        made = self.folder / f"{shard.key}.made"
        with made.open("a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        if self.made(shard.key) <= int(times):
            if trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise InputError("not this one") if trouble == "refuse" else OSError(28, "No space left on device")
        values = torch.tensor([float(shard.start)])
        PartialResults(self.folder).save(shard.key, values)
        return values

    def made(self, key: str) -> int:
        return len((self.folder / f"{key}.made").read_text("utf-8").splitlines())

    def find(self, shard: Shard, given: str) -> torch.Tensor | None:
        return PartialResults(self.folder).load(shard.key, 1)

    def portable(self) -> "Troubled":
        return self


@dataclass(frozen=True)
class Revision(Task[str, torch.Tensor]):
    """Says in an error which commit of a repository is opened."""

    def open(self) -> "Revision":
        return self

    def __call__(self, shard: Shard, repository: str) -> torch.Tensor:
        raise InputError(f"the commit is {self.of(repository)}")

    def of(self, repository: str) -> str | None:
        return pinned(repository)

    def find(self, shard: Shard, repository: str) -> None:
        return None

    def portable(self) -> "Revision":
        return self


def generate(
    folder: Path | None, samples: int = 4, runtime: Runtime = "torch", dropping: EarlyDropping | None = None
) -> ImageSet:
    sampler = SAMPLER.model_copy(update={"runtime": runtime})
    return sample_images(MODEL, None, PROMPTS, samples, sampler, 0, "ray", "generating", folder, dropping)


if __name__ == "__main__":
    from rsidiff_kedro.execution.ray_engine import RayEngine

    settings = ExecutionSettings(engine="ray", address=sys.argv[1], workers=1, threads=1)
    set_engine(RayEngine(settings, Path(sys.argv[2]), on_gpu=False))
    generate(Path(sys.argv[3]), samples=16)
