"""The scenes judge as a reward: a diagnostic that shows the ceiling of preference selection, never a default."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from rsidiff_kedro.scenes.judge import judge_images


class OracleReward:
    """Scores an image by the exact judge's graded verdict; with it the judge is no held-out measure any more."""

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Grades in [0, 1]: float32 [n].

        Raises:
            CaptionError: a prompt is no caption of the scenes grammar.
        """
        return judge_images(images, list(prompts))["grade"].to_numpy(np.float32)
