"""Show what a strategy did: samples that selection kept, the extremes of the weights, prompts that curation dropped."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from PIL import Image

from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.reporting.contact_sheet import contact_sheet, scale_for
from rsidiff_kedro.reporting.funnel import EXPLANATIONS
from rsidiff_kedro.reporting.gallery import spread

PROMPTS = 8
"""Prompts of which a sheet shows the samples, two in a row."""
COLUMNS = 4
"""Samples of a prompt, or of the extremes of the weights; Kedro-Viz stretches a sheet to its panel of some 3 : 2."""
EXAMPLES = 12
"""Prompts that a list names of those that are kept, and of those that a rule dropped."""
FADED = 0.65
"""Share of white in a sample that was dropped."""


def selection_sheet(samples: Mapping[str, Any]) -> Image.Image:
    """Return the best samples of some prompts; those that selection dropped are faded and say why.

    Args:
        samples: a round's `training_samples`.
    """
    rows = [row[:COLUMNS] for row in samples["prompts"][:PROMPTS]]
    width = max(map(len, rows), default=1)
    shown: list[tuple[Image.Image, str]] = []
    for row in rows:
        shown += [_judged(sample) for sample in row]
        blank = Image.new("RGB", shown[-1][0].size, "white")
        shown += [(blank, "")] * (width - len(row))
    return _sheet(shown, 2 * width)


def weights_sheet(samples: Mapping[str, Any]) -> Image.Image:
    """Return the samples of a round's `training_samples` with the lowest weights, then those with the highest."""
    shown = [
        (_picture(sample), f"{which} weights, {sample['weight']:.2g}: {sample['text']}")
        for which in ("lowest", "highest")
        for sample in samples[which][:COLUMNS]
    ]
    return _sheet(shown, min(COLUMNS, len(samples["lowest"])))


def curation_text(kept: pd.DataFrame, dropped: pd.DataFrame) -> str:
    """Return how many prompts were kept and how many each rule dropped, with examples of both.

    Args:
        kept: prompts with their `text`.
        dropped: the others, with the `rule` that dropped each.
    """
    counts = {f"Kept {len(kept)} of {len(kept) + len(dropped)} prompts": kept}
    for rule, count in dropped["rule"].value_counts().items():
        reason = EXPLANATIONS.get(str(rule), str(rule).replace("_", " "))
        counts[f"Dropped {count}: {reason}"] = dropped[dropped["rule"] == rule]
    examples = [line for count, prompts in counts.items() for line in ("", count, *_examples(prompts))]
    return "\n".join([*counts, *examples])


def _examples(prompts: pd.DataFrame) -> list[str]:
    texts = spread(prompts["text"].tolist(), EXAMPLES)
    rest = len(prompts) - len(texts)
    return [*(f"  {printable(text)}" for text in texts), *([f"  and {rest} more"] if rest else [])]


def _judged(sample: Mapping[str, Any]) -> tuple[Image.Image, str]:
    """Return a sample's picture and its caption."""
    picture, reason = _picture(sample), str(sample["reason"])
    if not reason:
        return picture, f"kept, rank {sample['rank']}: {sample['text']}"
    faded = Image.blend(picture, Image.new("RGB", picture.size, "white"), FADED)
    return faded, f"dropped, rank {sample['rank']}: {EXPLANATIONS.get(reason, reason)}"


def _picture(sample: Mapping[str, Any]) -> Image.Image:
    """Read a thumbnail, see `Thumbnails.source`."""
    data = base64.b64decode(sample["src"].partition(",")[2])
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        return image.convert("RGB")


def _sheet(shown: Sequence[tuple[Image.Image, str]], columns: int) -> Image.Image:
    pictures = [picture for picture, _ in shown]
    return contact_sheet(pictures, max(1, columns), scale_for(pictures), [caption for _, caption in shown])
