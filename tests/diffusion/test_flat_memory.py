"""Memory does not grow with the number of images: generated, saved, read, chosen for training, and trained on."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.datasets.image_folder import ImageSetDataset, TrainingSetDataset
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import SamplerSettings
from rsidiff_kedro.method.replay import weighted_images, with_replay
from rsidiff_kedro.method.settings import ReplaySettings

MEGABYTE = 2**20
SAMPLER = SamplerSettings(num_inference_steps=1, guidance_scale=1.0, micro_batch_size=500)


class Model:
    """Latents of 4 KB whose images are all different; 30,000 would be 120 MB."""

    latent_shape = (4, 16, 16)
    denoiser, device, dtype = torch.nn.Identity(), torch.device("cpu"), torch.float32

    def conditioning(self, texts: list[str]) -> None:
        """Encode nothing."""

    def generate(self, noise: torch.Tensor, *_: object) -> torch.Tensor:
        return noise

    def decode(self, latents: torch.Tensor) -> list[Image.Image]:
        pixels = (latents[:, :3, :2, :2].permute(0, 2, 3, 1) * 60 + 128).clamp(0, 255).to(torch.uint8)
        return [Image.fromarray(each) for each in pixels.contiguous().numpy()]


class Peak:
    """The most anonymous memory while it is entered; mapped files are not counted, which the system takes back."""

    def __enter__(self) -> "Peak":
        self.bytes, self._over = 0, False
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join()

    def _watch(self) -> None:
        while not self._over:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            now = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.bytes = max(self.bytes, int(now.split()[1]) * 1024)
            time.sleep(0.01)


def a_round(folder: Path, count: int) -> None:
    """Do what the steps of a round do with its images: train on one half, and replay the other."""
    folder.mkdir()
    stored, trained = ImageSetDataset(filepath=folder / "images"), TrainingSetDataset(filepath=folder / "training_set")
    generate(stored, folder / "unfinished", count)
    build(stored, trained)
    train(trained, count)


def generate(stored: ImageSetDataset, unfinished: Path, count: int) -> None:
    unfinished.mkdir()
    prompts = prompt_table([f"a {number}" for number in range(count // 4)], "grammar")
    stored.save(sample_images(Model(), None, prompts, 4, SAMPLER, 0, "round_1", "", unfinished))  # type: ignore[arg-type]


def build(stored: ImageSetDataset, trained: TrainingSetDataset) -> None:
    images = stored.load()
    halves = [pd.DataFrame({"image_id": images.metadata["image_id"][start::2], "weight": 1.0}) for start in (0, 1)]
    before, own = (weighted_images(images, half, number) for number, half in enumerate(halves, start=1))
    trained.save(with_replay(own, before, ReplaySettings(rounds=1), 2))


def train(trained: TrainingSetDataset, count: int) -> None:
    latents = trained.load().latents
    assert len(latents) == count
    for start in range(0, count, 50):
        assert latents[torch.arange(start, start + 32) % count].isfinite().all()


def measure(folder: Path) -> float:
    """Return how many bytes more 30,000 images need than 300."""
    pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps what tables have freed
    with Peak() as few:
        a_round(folder / "few", 300)
    with Peak() as many:
        a_round(folder / "many", 30_000)
    return many.bytes - few.bytes


@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is read from /proc")
def test_a_hundred_times_the_images_need_no_more_than_50_megabytes_more(tmp_path: Path) -> None:
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}  # more arenas keep what other threads have freed

    def measured(number: int) -> float:
        (folder := tmp_path / str(number)).mkdir()
        command = [sys.executable, __file__, str(folder)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, encoding="utf-8")
        return float(done.stdout)

    # Whatever else happens in a process only adds to its peak, so the least of three counts.
    assert any(measured(number) < 50 * MEGABYTE for number in range(3))


if __name__ == "__main__":
    sys.stdout.write(str(measure(Path(sys.argv[1]))))
