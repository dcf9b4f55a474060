"""The scenes judge as a reward: a diagnostic that shows the ceiling of preference selection, never a default."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rsidiff_kedro.scenes.world.grammar import is_caption
from rsidiff_kedro.scenes.world.judge import judge_images


class OracleReward:
    """Score an image by the exact judge's grade; the judge is then no held-out measure any more."""

    def can_read(self, prompt: str) -> bool:
        """Tell whether the prompt is a caption of the grammar."""
        return is_caption(prompt)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return grades in [0, 1]: float32 [n].

        Raises:
            CaptionError: a prompt is no caption of the scenes grammar.
        """
        return judge_images(images, list(prompts))["grade"].to_numpy(np.float32)
