"""Two rounds of each family; what they leave is read by unmodified diffusers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from kedro.framework.session import KedroSession

from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.hooks.runner import RsiRunner

SIZES = {
    "prompt_curation.source.count": 12,
    "prompt_curation.source.evaluation_count": 6,
    "prompt_curation.pool_size": 6,
    "prompt_curation.prompts_per_round": 4,
    "prompt_curation.validation_size": 2,
    "prompt_curation.test_size": 2,
    "finetune.learning_rate": 0.05,
    "finetune.ema_decay": 0.0,
    "evaluation.judge": None,
    "gate.enabled": False,
    "model.resolution": 32,
}


def nested(flat: dict[str, object]) -> dict[str, object]:
    tree: dict[str, object] = {}
    for name, value in flat.items():
        *parents, key = name.split(".")
        here = tree
        for parent in parents:
            here = here.setdefault(parent, {})  # type: ignore[assignment]
        here[key] = value
    return tree


@pytest.mark.parametrize("family", FAMILIES.names)
def test_the_last_rounds_images_are_those_of_diffusers_with_its_adapter(
    project: Path, family_folder, empty_store: Path, family: str
) -> None:
    shutil.copy(empty_store, project)
    folder = family_folder(family)
    params = nested({"model.family": family, "model.base": str(folder), **SIZES})
    with KedroSession.create(project, env="test", runtime_params=params) as session:
        session.run(pipeline_names=["rsi"], runner=RsiRunner(), to_outputs=["rsi.round_2.test_images"])
        catalog = session.load_context().catalog
    images = catalog.load("rsi.round_2.test_images")
    adapter = next(project.glob("data/test/06_models/rsi/round_2/adapter/*/adapter"))
    pipeline = DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    binning = {"use_resolution_binning": False} if family == "sana" else {}
    base, adapted = [], []
    for generated in (base, adapted):
        for row in range(len(images)):
            generator = torch.Generator().manual_seed(int(images.metadata["seed"][row]))
            text = images.metadata["text"][row]
            image = pipeline(
                text, generator=generator, num_inference_steps=3, guidance_scale=2.0, height=32, width=32, **binning
            ).images[0]
            generated.append(np.asarray(image, int))
        if generated is base:
            pipeline.load_lora_weights(adapter)
    ours = [np.asarray(image, int) for image in images.images]
    assert np.abs(np.stack(adapted) - np.stack(ours)).max() <= 1
    assert np.abs(np.stack(adapted) - np.stack(base)).max() > 3
