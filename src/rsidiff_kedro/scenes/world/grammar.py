"""Read and generate captions of scenes: one or two objects, a relation between two, a background.

    caption    := object [relation object] ["on a" background "background"]
    object     := "a" [size] color shape
    relation   := "left of" | "right of" | "above" | "below"

A caption need not name sizes and background. Two captions of the same meaning ("a red circle left of a blue square",
"a blue square right of a red circle") have the same `Scene.key`.
"""

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "diamond")
SIZES = ("small", "large")
COLORS = {
    "red": (220, 40, 40),
    "yellow": (245, 225, 50),
    "green": (40, 160, 60),
    "cyan": (60, 210, 220),
    "blue": (40, 70, 220),
    "purple": (160, 50, 190),
}
BACKGROUNDS = {"white": (245, 245, 245), "gray": (128, 128, 128), "black": (15, 15, 15), "brown": (115, 75, 45)}
RELATIONS = ("left of", "right of", "above", "below")
_WORDS = {"a", "on", "background", *SHAPES, *SIZES, *COLORS, *BACKGROUNDS, *" ".join(RELATIONS).split()}
_INVERSE = {"right of": "left of", "below": "above"}

_OBJECT = (
    rf"an? (?:(?P<size{{n}}>{'|'.join(SIZES)}) )?(?P<color{{n}}>{'|'.join(COLORS)}) (?P<shape{{n}}>{'|'.join(SHAPES)})"
)
_CAPTION = re.compile(
    _OBJECT.replace("{n}", "1")
    + rf"(?: (?P<relation>{'|'.join(RELATIONS)}) {_OBJECT.replace('{n}', '2')})?"
    + rf"(?: on an? (?P<background>{'|'.join(BACKGROUNDS)}) background)?"
)


class CaptionError(ValueError):
    """A text that is no caption of the grammar."""


@dataclass(frozen=True)
class SceneObject:
    """An object of a caption; `size` is None if the caption does not name it."""

    shape: str
    color: str
    size: str | None = None

    def __str__(self) -> str:
        return " ".join(["a", *([self.size] if self.size else []), self.color, self.shape])


@dataclass(frozen=True)
class Scene:
    """The content of a caption: objects, the relation of the first to the second, and the background or None."""

    objects: tuple[SceneObject, ...]
    relation: str | None = None
    background: str | None = None

    @property
    def caption(self) -> str:
        """Return the scene in the grammar's words."""
        text = f" {self.relation} ".join(str(item) for item in self.objects)
        return f"{text} on a {self.background} background" if self.background else text

    @property
    def key(self) -> str:
        """Return one caption for all of the same meaning, with "left of" and "above" only."""
        if self.relation in _INVERSE:
            return Scene(self.objects[::-1], _INVERSE[self.relation], self.background).caption
        return self.caption


def parse_caption(text: str) -> Scene:
    """Read a caption of the grammar, in any case and spacing, with or without a full stop.

    Raises:
        CaptionError: the text is not of the grammar.
    """
    found = _CAPTION.fullmatch(" ".join(text.lower().split()).rstrip(" ."))
    if found is None:
        raise CaptionError(
            f"not a caption of the scenes grammar: {text[:80]!r}; "
            "say for example 'a small red circle left of a blue square on a white background'"
        )
    part = found.groupdict()
    objects = [SceneObject(part[f"shape{n}"], part[f"color{n}"], part[f"size{n}"]) for n in "12" if part[f"shape{n}"]]
    return Scene(tuple(objects), part["relation"], part["background"])


def is_caption(text: str) -> bool:
    """Tell whether a text is a caption of the grammar."""
    try:
        parse_caption(text)
    except CaptionError:
        return False
    return True


def has_known_words(text: str) -> bool:
    """Tell whether a text, caption or not, holds words of captions alone."""
    return all(word.strip(".,") in _WORDS for word in text.lower().split())


def single_object_scenes() -> list[Scene]:
    """List all scenes of one object, with and without size and background."""
    choices = itertools.product((None, *SIZES), COLORS, SHAPES, (None, *BACKGROUNDS))
    return [Scene((SceneObject(shape, color, size),), None, background) for size, color, shape, background in choices]


def _sample_object(rng: np.random.Generator) -> SceneObject:
    shape, color = rng.choice(SHAPES), rng.choice(list(COLORS))
    return SceneObject(str(shape), str(color), str(rng.choice(SIZES)) if rng.random() < 0.5 else None)


def sample_scene(rng: np.random.Generator, n_objects: int) -> Scene:
    """Sample a scene of one or two objects, which differ in color or shape.

    Shapes, colors and relations are uniform; half of the sizes and of the backgrounds are named.
    """
    objects = [_sample_object(rng)]
    while len(objects) < n_objects:
        other = _sample_object(rng)
        if (other.shape, other.color) != (objects[0].shape, objects[0].color):
            objects.append(other)
    relation = str(rng.choice(RELATIONS)) if n_objects == 2 else None
    background = str(rng.choice(list(BACKGROUNDS))) if rng.random() < 0.5 else None
    return Scene(tuple(objects), relation, background)


def sample_distinct_scenes(rng: np.random.Generator, n_objects: int) -> Iterator[Scene]:
    """Yield distinct scenes in random order: all scenes of one object, or scenes of two objects without end."""
    if n_objects == 1:
        scenes = single_object_scenes()
        yield from (scenes[index] for index in rng.permutation(len(scenes)))
        return
    seen: set[str] = set()
    while True:
        scene = sample_scene(rng, n_objects)
        if scene.key not in seen:
            seen.add(scene.key)
            yield scene


def bucket(scene: Scene) -> float:
    """Return a number in [0, 1) that depends on the scene's meaning only and decides its split.

    The embedded base never saw a caption of a bucket below `HELD_OUT`. Captions from there to `ANNOTATED` are for the
    preference model's annotators, the others for training prompts.
    """
    return int(hashlib.sha256(scene.key.encode()).hexdigest()[:8], 16) / 2**32


HELD_OUT = 0.55
ANNOTATED = 0.64
