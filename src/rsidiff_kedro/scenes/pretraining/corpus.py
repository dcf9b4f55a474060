"""The base model's training corpus: pictures with captions, noisy the way web pairs are.

Rule of the noise, each by its own rate and independent of the others:

* `caption`: one of the caption's shapes or colors is taken for another one, or its relation is turned round;
* `stray`: the picture shows a small blob that no caption names;
* `malformed`: one form is badly drawn (`renderer.FLAWS`).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from rsidiff_kedro.scenes.world.grammar import COLORS, HELD_OUT, SHAPES, Scene, bucket, sample_scene
from rsidiff_kedro.scenes.world.renderer import add_flaw, add_stray, compose, render


@dataclass(frozen=True)
class NoiseRates:
    """How often a pair of the corpus is wrong, each in [0, 1]."""

    caption: float
    stray: float
    malformed: float


def corpus_scenes(rng: np.random.Generator, two_objects: float) -> Iterator[Scene]:
    """Scenes without end, none of them held out; a share `two_objects` of them has two objects."""
    while True:
        scene = sample_scene(rng, 2 if rng.random() < two_objects else 1)
        if bucket(scene) >= HELD_OUT:
            yield scene


def mistake_caption(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one shape, color or relation said wrongly; sizes and backgrounds stay right."""
    kinds = ["shape", "color"] + (["relation"] if scene.relation else [])
    kind = str(rng.choice(kinds))
    if kind == "relation":
        opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
        return replace(scene, relation=opposite[str(scene.relation)])
    chosen = int(rng.integers(len(scene.objects)))
    item = scene.objects[chosen]
    words = SHAPES if kind == "shape" else tuple(COLORS)
    other = str(rng.choice([word for word in words if word != getattr(item, kind)]))
    objects = list(scene.objects)
    objects[chosen] = replace(item, **{kind: other})
    return replace(scene, objects=tuple(objects))


def draw_corpus(size: int, two_objects: float, noise: NoiseRates, seed: int) -> pd.DataFrame:
    """Draw captioned pictures: columns image (PNG bytes), caption and noise ("" where the pair is clean)."""
    rng = np.random.default_rng(seed)
    scenes = corpus_scenes(rng, two_objects)
    rows: list[tuple[bytes, str, str]] = []
    for _ in tqdm(range(size), desc="drawing the corpus", unit="image"):
        mistaken = rng.random() < noise.caption
        scene, said = _shown_and_said(scenes, mistaken, rng)
        picture, wrong = compose(scene, rng), ["caption"] if mistaken else []
        if rng.random() < noise.malformed:
            picture, wrong = add_flaw(picture, rng), [*wrong, "malformed"]
        if rng.random() < noise.stray:
            picture, wrong = add_stray(picture, rng), [*wrong, "stray"]
        rows.append((_png(render(picture)), said.caption, "+".join(wrong)))
    return pd.DataFrame(rows, columns=["image", "caption", "noise"])


def _shown_and_said(scenes: Iterator[Scene], mistaken: bool, rng: np.random.Generator) -> tuple[Scene, Scene]:
    """What a pair shows and what its caption says, drawn until neither is held out."""
    while True:
        scene = next(scenes)
        said = mistake_caption(scene, rng) if mistaken else scene
        if bucket(said) >= HELD_OUT:
            return scene, said


def corpus_pixels(corpus: pd.DataFrame) -> np.ndarray:
    """The corpus's pictures: uint8 [n, 32, 32, 3]."""
    return np.stack([np.asarray(Image.open(io.BytesIO(data), formats=["PNG"])) for data in corpus["image"]])


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()
