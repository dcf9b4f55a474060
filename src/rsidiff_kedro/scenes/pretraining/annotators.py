"""Make training data of the preference model: wrong pairs, and the answers of simulated annotators."""

from dataclasses import replace

import numpy as np
import pandas as pd

from rsidiff_kedro.scenes.pretraining.corpus import mistake_caption, scenes_between
from rsidiff_kedro.scenes.world.grammar import ANNOTATED, BACKGROUNDS, HELD_OUT, SIZES, Scene, bucket, parse_caption


def annotated_scenes(one_object: int, two_objects: int, seed: int) -> list[Scene]:
    """Sample scenes for annotators only: at most `one_object` of one object, and `two_objects` of two."""
    return scenes_between(HELD_OUT, ANNOTATED, one_object, two_objects, seed)


def contradict(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with one wrong attribute, size, background or relation."""
    named = [number for number, item in enumerate(scene.objects) if item.size is not None]
    kind = str(rng.choice(["other"] * 2 + ["size"] * bool(named) + ["background"] * (scene.background is not None)))
    if kind == "size":
        objects, chosen = list(scene.objects), int(rng.choice(named))
        other = SIZES[1 - SIZES.index(str(objects[chosen].size))]
        objects[chosen] = replace(objects[chosen], size=other)
        return replace(scene, objects=tuple(objects))
    if kind == "background":
        return replace(scene, background=str(rng.choice([name for name in BACKGROUNDS if name != scene.background])))
    return mistake_caption(scene, rng)


def label_pairs(corpus: pd.DataFrame, wrong_share: float, seed: int) -> pd.DataFrame:
    """Label pairs: 0 for noisy ones and for a share of the clean ones, which get a wrong caption; else 1.

    A wrong caption is never held out, as the model could tell it from right ones by that.

    Returns:
        Columns caption and label.
    """
    rng = np.random.default_rng(seed)
    captions, labels = [], []
    for caption, noise in zip(corpus["caption"], corpus["noise"], strict=True):
        wrong = None
        if noise == "" and rng.random() < wrong_share:
            tries = (contradict(parse_caption(caption), rng) for _ in range(100))
            wrong = next((said for said in tries if bucket(said) >= HELD_OUT), None)  # a few captions have none
        captions.append(caption if wrong is None else wrong.caption)
        labels.append(float(noise == "" and wrong is None))
    return pd.DataFrame({"caption": captions, "label": labels})


def annotate(verdicts: pd.DataFrame, pairs_per_prompt: int, error_rate: float, seed: int) -> pd.DataFrame:
    """Answer which of two images of a prompt, graded differently by the judge, is better; some answers are wrong.

    Args:
        verdicts: one row per image, with prompt_id, image_id and grade.
        pairs_per_prompt: at most.
        error_rate: the share of answers that contradict the judge, in [0, 0.5).

    Returns:
        Columns prompt_id, better, worse (image ids) and wrong (whether the answer contradicts the judge).
    """
    rng = np.random.default_rng(seed)
    answers = []
    for prompt_id, group in verdicts.groupby("prompt_id", sort=True):
        ids, grades = group["image_id"].to_numpy(), group["grade"].to_numpy()
        pairs = [(a, b) for a in range(len(ids)) for b in range(len(ids)) if grades[a] > grades[b]]
        for index in rng.permutation(len(pairs))[:pairs_per_prompt]:
            better, worse = pairs[index]
            wrong = bool(rng.random() < error_rate)
            first, second = (worse, better) if wrong else (better, worse)
            answers.append((prompt_id, ids[first], ids[second], wrong))
    return pd.DataFrame(answers, columns=["prompt_id", "better", "worse", "wrong"])
