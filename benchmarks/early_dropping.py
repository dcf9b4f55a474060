"""Measure what early dropping costs and saves: python benchmarks/early_dropping.py

For each number of steps after which the worse half of a prompt's samples is dropped: how the rewards of the predicted
images correlate with those of the finished ones, how much lower the best remaining sample of a prompt is than the best
of all, and the CPU time of generation beside that without dropping. One thread, the embedded model, held-out prompts.
"""

import argparse
import sys
import time

import numpy as np
import torch

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.early_dropping import EarlyDropping
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.rewards.scoring import RewardOpening, with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.scenes.pretraining.corpus import held_out_scenes

SAMPLES, STEPS = 4, 8
REWARDS = RewardsSettings()


def main() -> None:
    """Print one row per number of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=96)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(ModelSettings(base="scenes", device="cpu"))
    scenes = held_out_scenes(given.prompts // 2, given.prompts - given.prompts // 2, seed=0)
    prompts = prompt_table([scene.caption for scene in scenes], "grammar")
    sampler = SamplerSettings(num_inference_steps=STEPS, guidance_scale=2.0, micro_batch_size=32)

    def generate(after: int | None) -> tuple[ImageSet, float]:
        dropping = EarlyDropping(after, RewardOpening("proxy", REWARDS), SAMPLES) if after is not None else None
        began = time.process_time()
        made = sample_images(model, None, prompts, SAMPLES, sampler, 0, "dropping", "generating", dropping=dropping)
        return made, time.process_time() - began

    generate(None)  # warm
    whole, _ = generate(None)
    rewards = with_scores(whole.metadata, whole.images, ["proxy"], REWARDS)["proxy"].to_numpy().reshape(-1, SAMPLES)
    sys.stdout.write("| steps | correlation | best sample's reward lost | time |\n| --- | --- | --- | --- |\n")
    for after in range(2, STEPS - 1):
        (made, seconds), (_, without) = generate(after), generate(None)
        kept = ~made.metadata["dropped"].to_numpy().reshape(-1, SAMPLES)
        lost = rewards.max(axis=1) - np.where(kept, rewards, -np.inf).max(axis=1)
        agreement = np.corrcoef(made.metadata["early_reward"], rewards.ravel())[0, 1]
        sys.stdout.write(f"| {after} of {STEPS} | {agreement:.2f} | {lost.mean():.3f} | x {seconds / without:.2f} |\n")
    sys.stdout.write(f"\nThe rewards' standard deviation is {rewards.std():.2f}.\n")


if __name__ == "__main__":
    main()
