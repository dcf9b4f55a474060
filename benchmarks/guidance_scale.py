"""Measure how often the shipped model is right by guidance scale: python benchmarks/guidance_scale.py

100 held-out prompts, 2 images each, the same noise for every scale; seconds a scale on two cores.
"""

import sys

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes
from rsidiff_kedro.scenes.world.grammar import parse_caption
from rsidiff_kedro.scenes.world.judge import judge_images

SCALES = (1.0, 1.5, 2.0, 3.0, 5.0)


def main() -> None:
    """Print a table in Markdown."""
    prompts = prompt_table([scene.caption for scene in held_out_scenes(60, 40, seed=1)], source="grammar")
    model = load_model(ModelSettings(base="scenes"))
    lines = ["| guidance scale | right | one object | two objects | malformed | not asked for |", "|" + " --- |" * 6]
    for scale in SCALES:
        images = sample_images(
            model, None, prompts, 2, SamplerSettings(guidance_scale=scale), 1, "benchmark", f"guidance scale {scale}"
        )
        texts = images.metadata["text"].tolist()
        verdicts = judge_images(images.images, texts)
        alone = [len(parse_caption(text).objects) == 1 for text in texts]
        shares = [
            verdicts["correct"].mean(),
            verdicts["correct"][alone].mean(),
            verdicts["correct"][[not one for one in alone]].mean(),
            (verdicts["malformed"] > 0).mean(),
            (verdicts["uncalled"] > 0).mean(),
        ]
        lines.append(f"| {scale:g} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
