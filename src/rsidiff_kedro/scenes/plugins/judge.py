"""The scenes judge as a plug-in of evaluation."""

from collections.abc import Sequence

import pandas as pd
from PIL import Image

from rsidiff_kedro.scenes.world.grammar import is_caption
from rsidiff_kedro.scenes.world.judge import judge_images


class ScenesJudge:
    """The exact judge of the scenes; it reads captions of the grammar only."""

    def can_read(self, prompt: str) -> bool:
        """Tell whether the prompt is a caption of the grammar."""
        return is_caption(prompt)

    def judge(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> pd.DataFrame:
        """Judge each image; see `world.judge.judge_images`."""
        return judge_images(images, prompts)
