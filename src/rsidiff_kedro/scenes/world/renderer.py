"""Draws scenes: anti-aliased forms on a plain background, 32 x 32 pixels, with flaws on request."""

from dataclasses import dataclass, replace

import numpy as np

from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, COLORS, SHAPES, SIZES, Scene

CANVAS = 32
SUPERSAMPLING = 4
HALF_EXTENTS = {"small": 5.0, "large": 7.0}
"""Half the width of a form in pixels."""
GRID = 4
"""Pixels. Whatever is drawn stands on this grid, which is that of the latents: a form looks the same to the denoiser
wherever it stands, so that a small one learns to draw it crisply."""
JITTER = (-GRID, 0, GRID)
"""Pixels that a form may be off its place, each way."""
STRAY_HALF_EXTENT = 2.2
"""Pixels; of a blob that no caption names."""
FLAWS = ("bite", "chimera", "two_tone")
"""What can be wrong with a form: a part is missing, its halves are of two shapes, or of two colors."""

_CIRCLE_RADIUS, _SQUARE_SIDE, _TRIANGLE_TOP, _TRIANGLE_BASE = 0.93, 0.84, -0.95, 0.90


@dataclass(frozen=True)
class Form:
    """A drawn object: shape, RGB color, centre and half extent in pixels, and at most one flaw."""

    shape: str
    color: str
    x: float
    y: float
    half_extent: float
    flaw: str | None = None
    flaw_seed: int = 0


@dataclass(frozen=True)
class Picture:
    """All that a picture shows: the background, the forms that a caption names, stray blobs that none names."""

    background: str
    forms: tuple[Form, ...]
    strays: tuple[Form, ...] = ()


def inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether points lie in the shape; u and v count from its centre in half extents, v downward."""
    if shape == "circle":
        return u**2 + v**2 <= _CIRCLE_RADIUS**2
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= _SQUARE_SIDE
    if shape == "diamond":
        return np.abs(u) + np.abs(v) <= 1.0
    if shape == "triangle":
        share = (v - _TRIANGLE_TOP) / (_TRIANGLE_BASE - _TRIANGLE_TOP)
        return (np.abs(u) <= share) & (v <= _TRIANGLE_BASE)
    raise ValueError(f"unknown shape {shape!r}; there are {', '.join(SHAPES)}")


_AXIS = (np.arange(CANVAS * SUPERSAMPLING) + 0.5) / SUPERSAMPLING


def coverage(shape: str, x: float, y: float, half_extent: float) -> np.ndarray:
    """The share of each pixel that a form covers: float [32, 32] in [0, 1]."""
    return _pool(_inside_canvas(shape, x, y, half_extent))


def _inside_canvas(shape: str, x: float, y: float, half_extent: float) -> np.ndarray:
    return inside(shape, (_AXIS[None, :] - x) / half_extent, (_AXIS[:, None] - y) / half_extent)


def _pool(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(CANVAS, SUPERSAMPLING, CANVAS, SUPERSAMPLING).mean(axis=(1, 3), dtype=np.float32)


def render(picture: Picture) -> np.ndarray:
    """Draw a picture: uint8 [32, 32, 3]."""
    canvas = np.empty((CANVAS, CANVAS, 3), np.float32)
    canvas[:] = BACKGROUNDS[picture.background]
    for form in picture.forms + picture.strays:
        for alpha, color in _layers(form):
            canvas += alpha[..., None] * (np.asarray(COLORS[color], np.float32) - canvas)
    return np.round(canvas).astype(np.uint8)


def _layers(form: Form) -> list[tuple[np.ndarray, str]]:
    """The coverage and the color of what a form is drawn with, its flaw included."""
    whole = _inside_canvas(form.shape, form.x, form.y, form.half_extent)
    if form.flaw is None:
        return [(_pool(whole), form.color)]
    rng = np.random.default_rng(form.flaw_seed)
    angle = rng.integers(8) * np.pi / 4
    u = (_AXIS[None, :] - form.x) / form.half_extent
    v = (_AXIS[:, None] - form.y) / form.half_extent
    if form.flaw == "bite":
        hole = (u - 0.8 * np.cos(angle)) ** 2 + (v - 0.8 * np.sin(angle)) ** 2 <= 0.6**2
        return [(_pool(whole & ~hole), form.color)]
    side = u * np.cos(angle) + v * np.sin(angle) > 0
    if form.flaw == "chimera":
        # The halves of a disc and a diamond or a triangle are far enough apart to be seen as wrong.
        other = rng.choice([name for name in SHAPES if name != form.shape])
        stretched = inside(str(other), u / 1.15, v / 0.85)
        return [(_pool(np.where(side, whole, stretched)), form.color)]
    if form.flaw == "two_tone":
        other = str(rng.choice([name for name in COLORS if name != form.color]))
        return [(_pool(whole & side), form.color), (_pool(whole & ~side), other)]
    raise ValueError(f"unknown flaw {form.flaw!r}; there are {', '.join(FLAWS)}")


def compose(scene: Scene, rng: np.random.Generator) -> Picture:
    """A picture of the scene: what its caption leaves open (size, background, exact place) is drawn at random.

    One object stands near the centre; two stand in the halves that their relation names.
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
    """Centres of two objects: off their places across the relation's axis alone."""
    along = np.array([CANVAS / 4, 3 * CANVAS / 4])
    across = CANVAS / 2 + rng.choice(JITTER, size=2)
    if relation in ("right of", "below"):
        along = along[::-1]
    pairs = zip(along, across, strict=True)
    return list(pairs) if relation in ("left of", "right of") else [(b, a) for a, b in pairs]


def add_stray(picture: Picture, rng: np.random.Generator) -> Picture:
    """Add a blob that no caption names, clear of the forms; unchanged if there is no room."""
    places = np.arange(GRID, CANVAS, GRID)
    for x, y in rng.permutation([(x, y) for x in places for y in places]):
        near = [1.2 * form.half_extent + STRAY_HALF_EXTENT + 1.5 for form in picture.forms]
        if all(np.hypot(x - form.x, y - form.y) > limit for form, limit in zip(picture.forms, near)):
            stray = Form("circle", str(rng.choice(list(COLORS))), float(x), float(y), STRAY_HALF_EXTENT)
            return replace(picture, strays=(*picture.strays, stray))
    return picture


def add_flaw(picture: Picture, rng: np.random.Generator) -> Picture:
    """Spoil one form of the picture with a flaw drawn from `FLAWS`."""
    chosen = int(rng.integers(len(picture.forms)))
    flaw = replace(picture.forms[chosen], flaw=str(rng.choice(FLAWS)), flaw_seed=int(rng.integers(2**31)))
    return replace(picture, forms=tuple(flaw if i == chosen else form for i, form in enumerate(picture.forms)))
