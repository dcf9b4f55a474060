"""Make the base model's training corpus: pictures with captions, noisy as web pairs are.

Three independent kinds of noise, each with its own rate:

* `caption`: the caption names a wrong shape or color, or the opposite relation;
* `stray`: the picture shows a small blob that no caption names;
* `malformed`: one form has a flaw (`renderer.FLAWS`).
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from pydantic import Field
from tqdm import tqdm

from rsidiff_kedro.core.section import Section
from rsidiff_kedro.scenes.world.grammar import (
    COLORS,
    HELD_OUT,
    SHAPES,
    Scene,
    bucket,
    sample_distinct_scenes,
    sample_scene,
)
from rsidiff_kedro.scenes.world.renderer import Picture, add_flaw, add_stray, compose, render


class NoiseRates(Section):
    """Rates of each kind of noise in the corpus, per pair."""

    caption: float = Field(ge=0, le=1)
    stray: float = Field(ge=0, le=1)
    malformed: float = Field(ge=0, le=1)


def scenes_between(low: float, high: float, one_object: int, two_objects: int, seed: int) -> list[Scene]:
    """Sample distinct scenes whose bucket is in [low, high): at most `one_object` of one object, then others."""
    rng = np.random.default_rng(seed)
    chosen: list[Scene] = []
    for n_objects, count in ((1, one_object), (2, two_objects)):
        found = (scene for scene in sample_distinct_scenes(rng, n_objects) if low <= bucket(scene) < high)
        chosen += islice(found, count)
    return chosen


def held_out_scenes(one_object: int, two_objects: int, seed: int) -> list[Scene]:
    """Sample scenes whose captions are not in the corpus.

    Raises:
        ValueError: there are fewer than `one_object` with one object.
    """
    scenes = scenes_between(0, HELD_OUT, one_object, two_objects, seed)
    found = len(scenes) - two_objects
    if found < one_object:
        raise ValueError(f"base_model.held_out.one_object is {one_object}, but only {found} such scenes are held out")
    return scenes


def mistake_caption(scene: Scene, rng: np.random.Generator) -> Scene:
    """Return the scene with one wrong shape, color or relation; sizes and backgrounds stay right."""
    kind = str(rng.choice(["shape", "color"] + (["relation"] if scene.relation else [])))
    if kind == "relation":
        opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
        return replace(scene, relation=opposite[str(scene.relation)])
    objects = list(scene.objects)
    chosen = int(rng.integers(len(objects)))
    words = SHAPES if kind == "shape" else tuple(COLORS)
    other = str(rng.choice([word for word in words if word != getattr(objects[chosen], kind)]))
    objects[chosen] = replace(objects[chosen], **{kind: other})
    return replace(scene, objects=tuple(objects))


def draw_corpus(size: int, two_objects: float, noise: NoiseRates, seed: int) -> pd.DataFrame:
    """Render captioned pictures, none with a held-out scene or caption; a share `two_objects` has two objects.

    Returns:
        Columns image (PNG bytes), caption and noise (kinds joined by "+"; "" for a clean pair).
    """
    pairs = tqdm(draw_pairs(size, two_objects, noise, seed), desc="rendering the corpus", unit="image", total=size)
    rows = [(_png(pair.picture), pair.caption, pair.noise) for pair in pairs]
    return pd.DataFrame(rows, columns=["image", "caption", "noise"])


class Pair(NamedTuple):
    """A picture that is not rendered yet, its caption and its kinds of noise, joined by "+"."""

    picture: Picture
    caption: str
    noise: str


def draw_pairs(size: int, two_objects: float, noise: NoiseRates, seed: int) -> Iterator[Pair]:
    """Sample the pairs of a corpus; see `draw_corpus`."""
    rng = np.random.default_rng(seed)
    for _ in range(size):
        mistaken = rng.random() < noise.caption
        pairs = _scenes_and_captions(two_objects, mistaken, rng)
        scene, said = next(pair for pair in pairs if bucket(pair[1]) >= HELD_OUT)
        picture, wrong = compose(scene, rng), ["caption"] if mistaken else []
        if rng.random() < noise.malformed:
            picture, wrong = add_flaw(picture, rng), [*wrong, "malformed"]
        if rng.random() < noise.stray:
            picture, wrong = add_stray(picture, rng), [*wrong, "stray"]
        yield Pair(picture, said.caption, "+".join(wrong))


def _png(picture: Picture) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(render(picture)).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def _scenes_and_captions(two_objects: float, mistaken: bool, rng: np.random.Generator) -> Iterator[tuple[Scene, Scene]]:
    """Yield scenes that are not held out, each with the scene that its caption describes."""
    while True:
        scene = sample_scene(rng, 2 if rng.random() < two_objects else 1)
        if bucket(scene) >= HELD_OUT:
            yield scene, mistake_caption(scene, rng) if mistaken else scene


def corpus_pixels(corpus: pd.DataFrame) -> np.ndarray:
    """Decode the corpus's pictures: uint8 [n, 32, 32, 3]."""
    return np.stack([np.asarray(Image.open(io.BytesIO(data), formats=["PNG"])) for data in corpus["image"]])
