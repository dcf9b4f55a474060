"""Use the scenes judge as a reward: a diagnostic that shows the ceiling of preference selection, never a default."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rsidiff_kedro.scenes.world.grammar import is_caption
from rsidiff_kedro.scenes.world.judge import judge_images


class OracleReward:
    """Scores an image by the exact judge's grade; the judge is then no held-out measure any more."""

    can_read = staticmethod(is_caption)

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return grades in [0, 1]: float32 [n].

        Raises:
            CaptionError: a prompt is no caption of the scenes grammar.
        """
        return judge_images(images, prompts)["grade"].to_numpy(np.float32)
