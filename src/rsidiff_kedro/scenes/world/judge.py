"""Judge pictures exactly: read the caption, segment the picture and compare them.

The judge represents human judgement. It only measures, with two exceptions: its verdicts with errors are the answers
of the preference model's annotators, and the reward `oracle` shows the ceiling.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, COLORS, SHAPES, Scene, parse_caption
from rsidiff_kedro.scenes.world.renderer import CANVAS, GRID, HALF_EXTENTS, coverage

IOU_THRESHOLD = 0.88
"""Least intersection over union of a well-formed form with the best template of equal area."""
STRAY_AREA = 3.0
"""Least pixels of a stray; smaller specks are ignored."""
FORM_AREA = 22.0
"""Least pixels of a form; smaller components are strays."""
PURITY = 0.85
"""Least share of a form's inner pixels that are of its color."""
BACKGROUND_DISTANCE = 45.0
"""Largest distance in RGB units of the border from a background color."""
_SIZE_LIMIT = float(np.sqrt(HALF_EXTENTS["small"] * HALF_EXTENTS["large"]))
_COLOR_NAMES = tuple(COLORS)
_COLOR_VALUES = np.array(list(COLORS.values()), np.float32)


def _unit_moments(shape: str) -> tuple[float, float]:
    """Return the area in half extents squared, and the centroid's distance below the centre in half extents."""
    mask = coverage(shape, CANVAS / 2, CANVAS / 2, 10.0)
    rows = np.arange(CANVAS) + 0.5
    return float(mask.sum()) / 100.0, float((mask.sum(axis=1) @ rows) / mask.sum() - CANVAS / 2) / 10.0


_UNIT = {shape: _unit_moments(shape) for shape in SHAPES}


@dataclass(frozen=True)
class SeenForm:
    """A form that the judge found: its looks, centre and quality."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    iou: float
    purity: float


@dataclass(frozen=True)
class Verdict:
    """The judge's findings on a picture.

    Attributes:
        attributes: whether each attribute that the caption names is right.
        malformed: number of malformed forms that the caption names.
        uncalled: number of forms that the caption does not name.
        left_open: the background and the sizes that the caption does not name, and every object's place on the grid.
    """

    attributes: dict[str, bool]
    malformed: int
    uncalled: int
    left_open: dict[str, str]

    @property
    def correct(self) -> bool:
        """Tell whether all that the caption names is present and well formed, and nothing else."""
        return all(self.attributes.values()) and self.hallucinations == 0

    @property
    def hallucinations(self) -> int:
        """Return the number of forms that are malformed or not in the caption."""
        return self.malformed + self.uncalled

    @property
    def attribute_accuracy(self) -> float:
        """Return the share of the caption's attributes that are right."""
        return float(np.mean(list(self.attributes.values())))

    @property
    def grade(self) -> float:
        """Return a grade in [0, 1]: attribute accuracy, less a quarter of it per hallucination (at most three)."""
        return self.attribute_accuracy * (1.0 - 0.25 * min(self.hallucinations, 3))


def see(image: np.ndarray) -> tuple[str | None, list[SeenForm], int]:
    """Segment an RGB image, uint8 [32, 32, 3]; return its background or None, its forms and the number of strays."""
    pixels = np.asarray(image, np.float32)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    ground = np.median(border, axis=0)
    distances = {name: float(np.linalg.norm(ground - value)) for name, value in BACKGROUNDS.items()}
    nearest = min(distances, key=lambda name: distances[name])
    background = nearest if distances[nearest] <= BACKGROUND_DISTANCE else None
    offsets = pixels - ground
    directions = _COLOR_VALUES - ground
    share = np.clip(offsets @ directions.T / (directions**2).sum(1), 0.0, 1.0)
    residual = ((offsets[:, :, None] - share[..., None] * directions) ** 2).sum(-1)
    label = residual.argmin(-1)
    amount = np.take_along_axis(share, label[..., None], -1)[..., 0]
    # A pixel of a color far from every palette entry still differs from the background.
    differs = (amount > 0.5) | (np.linalg.norm(offsets, axis=-1) > 90.0)
    components, count = ndimage.label(differs, structure=np.ones((3, 3), bool))
    forms, strays = [], 0
    for index in range(1, count + 1):
        area = int((components == index).sum())
        if area >= FORM_AREA:
            forms.append(_describe(pixels, ground, components, index))
        elif area >= STRAY_AREA:
            strays += 1
    return background, forms, strays


def _describe(pixels: np.ndarray, ground: np.ndarray, components: np.ndarray, index: int) -> SeenForm:
    mask = components == index
    inner = ndimage.binary_erosion(mask)
    core = pixels[inner if inner.any() else mask]
    color_index = np.linalg.norm(core[:, None] - _COLOR_VALUES, axis=-1).argmin(-1)
    color = int(np.bincount(color_index, minlength=len(_COLOR_NAMES)).argmax())
    direction = np.median(core, axis=0) - ground
    amount = np.clip((pixels - ground) @ direction / max(float(direction @ direction), 1.0), 0.0, 1.0)
    near = ndimage.binary_dilation(mask, structure=np.ones((3, 3), bool)) & (mask | (components == 0))
    shape, iou, half_extent, x, y = _best_template(np.where(near, amount, 0.0))
    size = "small" if half_extent < _SIZE_LIMIT else "large"
    return SeenForm(shape, _COLOR_NAMES[color], size, x, y, iou, float((color_index == color).mean()))


def _best_template(alpha: np.ndarray) -> tuple[str, float, float, float, float]:
    """Return the shape whose template of equal area and centroid fits best, its IoU, half extent and centre."""
    area = float(alpha.sum())
    axis = np.arange(CANVAS) + 0.5
    x, y = float(alpha.sum(0) @ axis) / area, float(alpha.sum(1) @ axis) / area
    best = ("", -1.0, 0.0, x, y)
    for shape, (unit_area, below) in _UNIT.items():
        half_extent = float(np.sqrt(area / unit_area))
        centre = y - below * half_extent
        template = coverage(shape, x, centre, half_extent)
        iou = float(np.minimum(alpha, template).sum() / np.maximum(alpha, template).sum())
        if iou > best[1]:
            best = (shape, iou, half_extent, x, centre)
    return best


def _attributes(scene: Scene, seen: Sequence[SeenForm | None], background: str | None, n_forms: int) -> dict[str, bool]:
    """Tell which of the caption's attributes are right if object i of the scene is `seen[i]`."""
    right = {"count": n_forms == len(scene.objects)}
    for number, (item, form) in enumerate(zip(scene.objects, seen, strict=True), start=1):
        for name in ("shape", "color", "size"):
            if getattr(item, name) is not None:
                right[f"{name}_{number}"] = form is not None and getattr(form, name) == getattr(item, name)
    if scene.relation is not None:
        right["relation"] = None not in seen and _relation_holds(scene.relation, *seen)  # type: ignore[arg-type]
    if scene.background is not None:
        right["background"] = background == scene.background
    return right


def _left_open(scene: Scene, seen: Sequence[SeenForm | None], background: str | None) -> dict[str, str]:
    """Return what the picture shows where the caption names nothing, with objects in the caption's order."""
    shown = {} if scene.background else {"background": str(background)}
    for number, (item, form) in enumerate(zip(scene.objects, seen, strict=True), start=1):
        if form is not None:
            shown[f"place_{number}"] = f"{round(form.x / GRID)},{round(form.y / GRID)}"
            shown |= {} if item.size else {f"size_{number}": form.size}
    return shown


def _relation_holds(relation: str, first: SeenForm, second: SeenForm) -> bool:
    right, down = second.x - first.x, second.y - first.y
    distance = {"left of": right, "right of": -right, "above": down, "below": -down}[relation]
    across = abs(down) if relation in ("left of", "right of") else abs(right)
    return distance > 4.0 and distance > across


def judge(image: Image.Image | np.ndarray, caption: str, iou_threshold: float = IOU_THRESHOLD) -> Verdict:
    """Judge a 32 x 32 picture against a caption of the grammar.

    Raises:
        CaptionError: the caption is not of the grammar.
        ValueError: the picture has another size.
    """
    scene = parse_caption(caption)
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if pixels.shape != (CANVAS, CANVAS, 3):
        raise ValueError(f"the judge reads pictures of shape {(CANVAS, CANVAS, 3)}, not {pixels.shape}")
    background, forms, strays = see(pixels)
    best = sorted(forms, key=lambda form: -form.iou)[:3]
    candidates: list[SeenForm | None] = [*best, *[None] * (len(scene.objects) - len(best))]
    orders = itertools.permutations(candidates, len(scene.objects))
    options = [(_attributes(scene, order, background, len(forms)), order) for order in orders]
    attributes, chosen = max(options, key=lambda option: sum(option[0].values()))
    malformed = sum(form is not None and (form.iou < iou_threshold or form.purity < PURITY) for form in chosen)
    uncalled = strays + max(len(forms) - len(scene.objects), 0)
    return Verdict(attributes, malformed, uncalled, _left_open(scene, chosen, background))


def judge_images(images: Iterable[Image.Image | np.ndarray], captions: Sequence[str]) -> pd.DataFrame:
    """Judge images; return one row per image.

    Returns:
        Columns correct, attribute_accuracy, malformed, uncalled, hallucinations, grade, and left_open as JSON.
    """
    verdicts = [judge(image, caption) for image, caption in zip(images, captions, strict=True)]
    columns = ("correct", "attribute_accuracy", "malformed", "uncalled", "hallucinations", "grade")
    table = pd.DataFrame({name: [getattr(verdict, name) for verdict in verdicts] for name in columns})
    return table.assign(left_open=[json.dumps(verdict.left_open, sort_keys=True) for verdict in verdicts])
