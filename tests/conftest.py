"""What tests share: a project folder of their own, with this project's configuration and no data; rendered scenes."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.scenes.grammar import Scene
from rsidiff_kedro.scenes.renderer import Picture, compose, render

ROOT = Path(__file__).parents[1]
Spoil = Callable[[Picture, np.random.Generator], Picture]


def make_project(folder: Path) -> Path:
    """A Kedro project of this package in an empty folder."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "src").mkdir()
    bootstrap_project(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, which is the working directory too."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    return folder


@pytest.fixture
def load_context(project: Path) -> Callable[..., KedroContext]:
    """Makes a context in the empty project: `load_context({"rounds": 2}, env="test")`."""

    def load(runtime_params: dict[str, Any] | None = None, env: str | None = None) -> KedroContext:
        with KedroSession.create(project, env=env, runtime_params=runtime_params) as session:
            return session.load_context()

    return load


@pytest.fixture(scope="session")
def scene_images() -> Callable[..., ImageSet]:
    """`scene_images(scenes, samples_per_prompt)`: see `draw_scenes`."""
    return draw_scenes


def draw_scenes(
    scenes: Sequence[Scene],
    samples: int,
    seed: int = 0,
    spoil: dict[int, Spoil] | None = None,
) -> ImageSet:
    """Renderings of the scenes, `samples` each; those of a sample index in `spoil` are spoiled by its function."""
    rng = np.random.default_rng(seed)
    rows, images = [], []
    for number, scene in enumerate(scenes):
        for sample in range(samples):
            picture = compose(scene, rng)
            picture = (spoil or {}).get(sample, lambda same, _: same)(picture, rng)
            images.append(Image.fromarray(render(picture)))
            name = f"p{number}_{sample}"
            rows.append(
                {
                    "file_name": f"images/{name}.png",
                    "image_id": name,
                    "prompt_id": f"p{number}",
                    "text": scene.caption,
                    "sample_index": sample,
                    "seed": 0,
                    "guidance_scale": 2.0,
                    "num_inference_steps": 8,
                    "checkpoint": "rendered",
                }
            )
    return ImageSet(pd.DataFrame(rows), images)
