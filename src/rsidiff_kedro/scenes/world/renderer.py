"""Render scenes: anti-aliased forms on a plain background, 32 x 32 pixels, with flaws on request."""

from dataclasses import dataclass, replace

import numpy as np

from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, COLORS, SHAPES, SIZES, Scene

CANVAS = 32
SUPERSAMPLING = 4
HALF_EXTENTS = {"small": 5.0, "large": 7.0}
"""Half the width of a form in pixels."""
GRID = 4
"""Pixels between possible centres of forms, as between latents: a form's latents are then the same at each place, and
a small denoiser learns to generate it crisply."""
JITTER = (-GRID, 0, GRID)
"""Possible shifts of a form, in pixels per axis."""
STRAY_HALF_EXTENT = 2.2
"""Of a blob that no caption names, in pixels."""
FLAWS = ("bite", "chimera", "two_tone")
"""A part of the form is missing, or its halves differ in shape or in color."""


@dataclass(frozen=True)
class Form:
    """A rendered object: shape, color, centre and half extent in pixels, and at most one flaw."""

    shape: str
    color: str
    x: float
    y: float
    half_extent: float
    flaw: str | None = None
    flaw_seed: int = 0


@dataclass(frozen=True)
class Picture:
    """A picture: its background, the forms that a caption names, and stray blobs that none names."""

    background: str
    forms: tuple[Form, ...]
    strays: tuple[Form, ...] = ()


def inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Tell which points are in the shape; u and v are distances from its centre in half extents, v downward."""
    if shape == "circle":
        return u**2 + v**2 <= 0.93**2
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.84
    if shape == "diamond":
        return np.abs(u) + np.abs(v) <= 1.0
    if shape == "triangle":
        return (np.abs(u) <= (v + 0.95) / (0.90 + 0.95)) & (v <= 0.90)
    raise ValueError(f"unknown shape {shape!r}; there are {', '.join(SHAPES)}")


_AXIS = (np.arange(CANVAS * SUPERSAMPLING) + 0.5) / SUPERSAMPLING


def coverage(shape: str, x: float, y: float, half_extent: float) -> np.ndarray:
    """Return the share of each pixel that a form covers: float [32, 32] in [0, 1]."""
    return _pool(inside(shape, *_distances(x, y, half_extent)))


def _distances(x: float, y: float, half_extent: float) -> tuple[np.ndarray, np.ndarray]:
    return (_AXIS[None, :] - x) / half_extent, (_AXIS[:, None] - y) / half_extent


def _pool(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(CANVAS, SUPERSAMPLING, CANVAS, SUPERSAMPLING).mean(axis=(1, 3), dtype=np.float32)


def render(picture: Picture) -> np.ndarray:
    """Render a picture: uint8 [32, 32, 3]."""
    canvas = np.empty((CANVAS, CANVAS, 3), np.float32)
    canvas[:] = BACKGROUNDS[picture.background]
    for form in picture.forms + picture.strays:
        for alpha, color in _layers(form):
            canvas += alpha[..., None] * (np.asarray(COLORS[color], np.float32) - canvas)
    return np.round(canvas).astype(np.uint8)


def _layers(form: Form) -> list[tuple[np.ndarray, str]]:
    """Return the coverages and colors that make up a form, including its flaw."""
    u, v = _distances(form.x, form.y, form.half_extent)
    whole = inside(form.shape, u, v)
    if form.flaw is None:
        return [(_pool(whole), form.color)]
    rng = np.random.default_rng(form.flaw_seed)
    angle = rng.integers(8) * np.pi / 4
    if form.flaw == "bite":
        hole = (u - 0.8 * np.cos(angle)) ** 2 + (v - 0.8 * np.sin(angle)) ** 2 <= 0.6**2
        return [(_pool(whole & ~hole), form.color)]
    side = u * np.cos(angle) + v * np.sin(angle) > 0
    if form.flaw == "chimera":
        # Stretched, as the halves of some shapes are too similar to look wrong.
        other = rng.choice([name for name in SHAPES if name != form.shape])
        stretched = inside(str(other), u / 1.15, v / 0.85)
        return [(_pool(np.where(side, whole, stretched)), form.color)]
    if form.flaw == "two_tone":
        other = str(rng.choice([name for name in COLORS if name != form.color]))
        return [(_pool(whole & side), form.color), (_pool(whole & ~side), other)]
    raise ValueError(f"unknown flaw {form.flaw!r}; there are {', '.join(FLAWS)}")


def compose(scene: Scene, rng: np.random.Generator) -> Picture:
    """Make a picture of the scene with random sizes, background and places where its caption names none.

    One object is near the centre; two are in the halves that their relation names.
    """
    background = scene.background or str(rng.choice(list(BACKGROUNDS)))
    if len(scene.objects) == 1:
        places = [tuple(CANVAS / 2 + rng.choice(JITTER, size=2))]
    else:
        places = _places_of_two(scene.relation, rng)
    forms = []
    for item, (x, y) in zip(scene.objects, places, strict=True):
        extent = HALF_EXTENTS[item.size or str(rng.choice(SIZES))]
        forms.append(Form(item.shape, item.color, float(x), float(y), extent))
    return Picture(background, tuple(forms))


def _places_of_two(relation: str | None, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Return the centres of two objects, shifted across the relation's axis only."""
    along = np.array([CANVAS / 4, 3 * CANVAS / 4])
    across = CANVAS / 2 + rng.choice(JITTER, size=2)
    if relation in ("right of", "below"):
        along = along[::-1]
    pairs = zip(along, across, strict=True)
    return list(pairs) if relation in ("left of", "right of") else [(b, a) for a, b in pairs]


def add_stray(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add a blob that no caption names, apart from the forms, if there is room."""
    places = np.arange(GRID, CANVAS, GRID)
    for x, y in rng.permutation([(x, y) for x in places for y in places]):
        near = [1.2 * form.half_extent + STRAY_HALF_EXTENT + 1.5 for form in picture.forms]
        if all(np.hypot(x - form.x, y - form.y) > limit for form, limit in zip(picture.forms, near)):
            stray = Form("circle", str(rng.choice(list(COLORS))), float(x), float(y), STRAY_HALF_EXTENT)
            return replace(picture, strays=(*picture.strays, stray))
    return picture


def add_flaw(picture: Picture, rng: np.random.Generator) -> Picture:
    """Spoil one form of the picture with a random flaw."""
    chosen = int(rng.integers(len(picture.forms)))
    flaw = replace(picture.forms[chosen], flaw=str(rng.choice(FLAWS)), flaw_seed=int(rng.integers(2**31)))
    return replace(picture, forms=tuple(flaw if i == chosen else form for i, form in enumerate(picture.forms)))
