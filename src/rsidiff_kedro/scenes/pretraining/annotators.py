"""Training data of the preference model: wrong pairs, and the answers of simulated annotators."""

from dataclasses import replace

import numpy as np
import pandas as pd

from rsidiff_kedro.scenes.pretraining.corpus import mistake_caption
from rsidiff_kedro.scenes.world.grammar import ANNOTATED, BACKGROUNDS, HELD_OUT, SIZES, Scene, bucket, parse_caption
from rsidiff_kedro.scenes.world.grammar import sample_distinct_scenes as distinct_scenes


def annotated_scenes(one_object: int, two_objects: int, seed: int) -> list[Scene]:
    """Scenes whose captions are used nowhere else: at most `one_object` of one object, and `two_objects` of two."""
    rng = np.random.default_rng(seed)
    chosen: list[Scene] = []
    for n_objects, count in ((1, one_object), (2, two_objects)):
        found = (scene for scene in distinct_scenes(rng, n_objects) if HELD_OUT <= bucket(scene) < ANNOTATED)
        chosen += [scene for scene, _ in zip(found, range(count), strict=False)]
    return chosen


def contradict(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one attribute or its relation said wrongly, sizes and backgrounds included."""
    named = [number for number, item in enumerate(scene.objects) if item.size is not None]
    kinds = ["other"] * 2 + ["size"] * bool(named) + ["background"] * (scene.background is not None)
    kind = str(rng.choice(kinds))
    if kind == "size":
        chosen = int(rng.choice(named))
        item = scene.objects[chosen]
        turned = replace(item, size=SIZES[1 - SIZES.index(str(item.size))])
        return replace(scene, objects=tuple(turned if n == chosen else o for n, o in enumerate(scene.objects)))
    if kind == "background":
        return replace(scene, background=str(rng.choice([name for name in BACKGROUNDS if name != scene.background])))
    return mistake_caption(scene, rng)


def label_pairs(corpus: pd.DataFrame, wrong_share: float, seed: int) -> pd.DataFrame:
    """Columns caption and label: noisy pairs of the corpus are 0, and so is a share of the clean ones, contradicted.

    A wrong caption is no held-out one either: else that it never comes with its picture would give it away.
    """
    rng = np.random.default_rng(seed)
    captions, labels = [], []
    for caption, noise in zip(corpus["caption"], corpus["noise"], strict=True):
        wrong = (
            _allowed_contradiction(parse_caption(caption), rng) if noise == "" and rng.random() < wrong_share else None
        )
        captions.append(caption if wrong is None else wrong.caption)
        labels.append(float(noise == "" and wrong is None))
    return pd.DataFrame({"caption": captions, "label": labels})


def _allowed_contradiction(scene: Scene, rng: np.random.Generator, tries: int = 100) -> Scene | None:
    """A contradiction that is not held out, or None: a few captions have none."""
    drawn = (contradict(scene, rng) for _ in range(tries))
    return next((said for said in drawn if bucket(said) >= HELD_OUT), None)


def annotate(verdicts: pd.DataFrame, pairs_per_prompt: int, error_rate: float, seed: int) -> pd.DataFrame:
    """Answers of annotators: pairs of one prompt's images that the judge grades differently, some answered wrongly.

    Args:
        verdicts: a row an image, with prompt_id, image_id and grade.
        error_rate: the share of answers that are turned round, in [0, 0.5).

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
