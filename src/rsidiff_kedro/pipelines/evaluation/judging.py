"""The scenes judge on prompts of which some may be no captions of its grammar."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image

from rsidiff_kedro.scenes.grammar import CaptionError, parse_caption
from rsidiff_kedro.scenes.judge import judge_images


def is_caption(text: str) -> bool:
    """Whether the judge can read it."""
    try:
        parse_caption(text)
    except CaptionError:
        return False
    return True


def judge_scenes(images: Sequence[Image.Image], texts: Sequence[str]) -> pd.DataFrame:
    """Verdicts, a row an image; NaN where the text is no caption of the grammar.

    Raises:
        ValueError: no text is one.
    """
    rows = [row for row, text in enumerate(texts) if is_caption(text)]
    if not rows:
        raise ValueError(
            f"evaluation.judge is 'scenes', but no prompt is a caption of the scenes grammar (the first: "
            f"{texts[0][:60]!r}); set evaluation.judge=null"
        )
    verdicts = judge_images((images[row] for row in rows), [texts[row] for row in rows])
    verdicts.index = pd.Index(rows)
    return verdicts if len(rows) == len(texts) else verdicts.reindex(np.arange(len(texts)))
