"""The exact judge: reads a caption, segments the picture and decides what in it is right.

It stands for human judgement: it measures and never selects, weights or trains, but for the annotators of the
preference model, whose answers are its verdicts with errors, and the reward `oracle`, which shows the ceiling.
"""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, COLORS, SHAPES, Scene, SceneObject, parse_caption
from rsidiff_kedro.scenes.world.renderer import CANVAS, GRID, HALF_EXTENTS, coverage

IOU_THRESHOLD = 0.88
"""A form whose intersection over union with the best template of equal area is lower is malformed."""
STRAY_AREA = 3.0
"""Pixels; smaller specks are ignored."""
FORM_AREA = 22.0
"""Pixels; a component between the two is a stray, a larger one a form."""
PURITY = 0.85
"""The share of a form's inner pixels that must be of its color."""
BACKGROUND_DISTANCE = 45.0
"""RGB units; a border farther from every background color has none."""
_SIZE_LIMIT = float(np.sqrt(HALF_EXTENTS["small"] * HALF_EXTENTS["large"]))
_COLOR_NAMES = tuple(COLORS)
_COLOR_VALUES = np.array(list(COLORS.values()), np.float32)


def _unit_moments(shape: str) -> tuple[float, float]:
    """Area in half extents squared, and how far the centroid lies below the centre in half extents."""
    mask = coverage(shape, CANVAS / 2, CANVAS / 2, 10.0)
    rows = np.arange(CANVAS) + 0.5
    return float(mask.sum()) / 100.0, float((mask.sum(axis=1) @ rows) / mask.sum() - CANVAS / 2) / 10.0


_UNIT = {shape: _unit_moments(shape) for shape in SHAPES}


@dataclass(frozen=True)
class SeenForm:
    """A form that the judge found: what it looks like, where its centre is, and how well it is drawn."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    iou: float
    purity: float

    def well_formed(self, iou_threshold: float) -> bool:
        """Whether it matches its shape's template and is of one color."""
        return self.iou >= iou_threshold and self.purity >= PURITY


@dataclass(frozen=True)
class Verdict:
    """What is right in a picture, and what it shows where the caption leaves it open.

    Attributes:
        attributes: whether each attribute that the caption names is right.
        malformed: how many forms are badly drawn.
        uncalled: how many forms nobody asked for.
        left_open: the background and the sizes that the caption does not name, and every object's place on the grid.
    """

    attributes: dict[str, bool]
    malformed: int
    uncalled: int
    left_open: dict[str, str]

    @property
    def correct(self) -> bool:
        """Everything that the caption names is there, well formed, and nothing else."""
        return all(self.attributes.values()) and self.hallucinations == 0

    @property
    def hallucinations(self) -> int:
        """Forms that are malformed or not asked for."""
        return self.malformed + self.uncalled

    @property
    def attribute_accuracy(self) -> float:
        """The share of the caption's attributes that are right."""
        return float(np.mean(list(self.attributes.values())))

    @property
    def grade(self) -> float:
        """Graded verdict in [0, 1]: attribute accuracy, less a quarter for each hallucination (three at most)."""
        return self.attribute_accuracy * (1.0 - 0.25 * min(self.hallucinations, 3))


def see(image: np.ndarray) -> tuple[str | None, list[SeenForm], int]:
    """Segment an RGB image, uint8 [32, 32, 3]: its background's name or None, its forms, the number of strays."""
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
    """Color, shape, size and quality of one component."""
    mask = components == index
    inner = ndimage.binary_erosion(mask)
    core = pixels[inner if inner.any() else mask]
    color_index = np.linalg.norm(core[:, None] - _COLOR_VALUES, axis=-1).argmin(-1)
    color = int(np.bincount(color_index, minlength=len(_COLOR_NAMES)).argmax())
    direction = np.median(core, axis=0) - ground
    amount = np.clip((pixels - ground) @ direction / max(float(direction @ direction), 1.0), 0.0, 1.0)
    near = ndimage.binary_dilation(mask, structure=np.ones((3, 3), bool)) & ((components == index) | (components == 0))
    alpha = np.where(near, amount, 0.0)
    shape, iou, half_extent, x, y = _best_template(alpha)
    size = "small" if half_extent < _SIZE_LIMIT else "large"
    return SeenForm(shape, _COLOR_NAMES[color], size, x, y, iou, float((color_index == color).mean()))


def _best_template(alpha: np.ndarray) -> tuple[str, float, float, float, float]:
    """The shape whose template of equal area at the same centroid fits best, its IoU, half extent and centre."""
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
    """Which of the caption's attributes hold if object i of the scene is `seen[i]`."""
    right = {"count": n_forms == len(scene.objects)}
    for number, (item, form) in enumerate(zip(scene.objects, seen, strict=True), start=1):
        right |= {f"{name}_{number}": value for name, value in _object_attributes(item, form).items()}
    if scene.relation is not None:
        right["relation"] = None not in seen and _relation_holds(scene.relation, *seen)  # type: ignore[arg-type]
    if scene.background is not None:
        right["background"] = background == scene.background
    return right


def _left_open(scene: Scene, seen: Sequence[SeenForm | None], background: str | None) -> dict[str, str]:
    """What the picture shows of what the caption leaves open, objects in the caption's order."""
    shown = {} if scene.background else {"background": str(background)}
    for number, (item, form) in enumerate(zip(scene.objects, seen, strict=True), start=1):
        if form is not None:
            shown[f"place_{number}"] = f"{round(form.x / GRID)},{round(form.y / GRID)}"
            shown |= {} if item.size else {f"size_{number}": form.size}
    return shown


def _object_attributes(item: SceneObject, form: SeenForm | None) -> dict[str, bool]:
    right = {
        "shape": form is not None and form.shape == item.shape,
        "color": form is not None and form.color == item.color,
    }
    if item.size is not None:
        right["size"] = form is not None and form.size == item.size
    return right


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
    options = [
        (_attributes(scene, chosen, background, len(forms)), chosen)
        for chosen in itertools.permutations(candidates, len(scene.objects))
    ]
    attributes, chosen = max(options, key=lambda option: sum(option[0].values()))
    malformed = sum(form is not None and not form.well_formed(iou_threshold) for form in chosen)
    uncalled = strays + max(len(forms) - len(scene.objects), 0)
    return Verdict(attributes, malformed, uncalled, _left_open(scene, chosen, background))


def judge_images(images: Iterable[Image.Image | np.ndarray], captions: Sequence[str]) -> pd.DataFrame:
    """Verdicts as a table, a row an image.

    Returns:
        Columns correct, attribute_accuracy, malformed, uncalled, hallucinations, grade, and left_open as JSON.
    """
    verdicts = [judge(image, caption) for image, caption in zip(images, captions, strict=True)]
    columns = ("correct", "attribute_accuracy", "malformed", "uncalled", "hallucinations", "grade")
    table = pd.DataFrame({name: [getattr(verdict, name) for verdict in verdicts] for name in columns})
    return table.assign(left_open=[json.dumps(verdict.left_open, sort_keys=True) for verdict in verdicts])
