"""Plug the scenes judge into the evaluation."""

from rsidiff_kedro.scenes.world.grammar import is_caption
from rsidiff_kedro.scenes.world.judge import judge_images


class ScenesJudge:
    """The exact judge of the scenes; it reads captions of the grammar only."""

    can_read = staticmethod(is_caption)
    judge = staticmethod(judge_images)
