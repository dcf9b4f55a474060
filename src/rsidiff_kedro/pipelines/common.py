"""Nodes that several stages use: generate images of prompts and score them."""

import pandas as pd
from kedro.pipeline import Node, node

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings
from rsidiff_kedro.evaluation.judging import judge_readable
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.pipelines.stage import bind
from rsidiff_kedro.rewards.scoring import with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings

SCORED = ["image_id", "prompt_id", "text", "sample_index"]
"""Columns of an image set that a table of scores keeps."""
REWARDS, FLOORS = "params:preference_selection.rewards", "params:preference_selection.floors"
SELECTING = ["params:preference_selection.enabled", REWARDS, FLOORS, "params:synthesis.early_dropping"]
"""What says which rewards select, in the order in which `selecting_rewards` takes it."""


def generate_images(
    adapter: Adapter,
    prompts: pd.DataFrame,
    samples_per_prompt: int,
    model: ModelSettings,
    sampler: SamplerSettings,
    seed: int,
    purpose: str,
) -> ImageSet:
    """Generate images of the validation or test prompts; a purpose uses the same seeds in every round.

    They have no latents, because nothing trains on them.
    """
    from rsidiff_kedro.diffusion.sampling import sample_images

    title, kept = f"generating {purpose} images", unfinished_folder()
    made = sample_images(model, adapter, prompts, samples_per_prompt, sampler, seed, purpose, title, kept)
    return made.without_latents()


def score_images(
    images: ImageSet,
    rewards: list[str],
    selection_rewards: dict[str, float],
    judge: str | None,
    models: RewardsSettings,
) -> pd.DataFrame:
    """Score images with every reward that is reported or selects, and with the judge."""
    names = [*rewards, *selection_rewards]
    scores = with_scores(images.metadata[SCORED], images.images, names, models, unfinished_folder())
    if judge is not None:
        verdicts = judge_readable(judge, images.images, scores["text"].tolist())
        scores[list(verdicts.columns)] = verdicts  # in place, because a join would lose the rewards' record
    return scores


def generate_and_score(purpose: str, adapter: str, section: str, scores: str) -> list[Node]:
    """Create a round's images of the validation or test prompts, and their scores.

    Args:
        purpose: "validation" or "test".
        adapter: the dataset of the adapter to generate with.
        section: the parameters that hold `samples_per_prompt`.
        scores: the dataset to write.
    """
    images, sampling = f"{purpose}_images", ["params:model", "params:sampler", "params:seed"]
    generate = bind(generate_images, purpose=purpose)
    inputs = [adapter, f"{purpose}_prompts", f"params:{section}.samples_per_prompt", *sampling]
    reported = ["params:evaluation.rewards", REWARDS, "params:evaluation.judge", "params:rewards"]
    return [
        node(generate, inputs, images, name=f"generate_{images}"),
        node(score_images, [images, *reported], scores, name=f"score_{images}"),
    ]
