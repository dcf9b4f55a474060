"""What a user can set of the preference models; every field stands in `conf/base/parameters_rewards.yml`."""

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from rsidiff_kedro.rewards.blip import BERT, HUB_ID
from rsidiff_kedro.rewards.clip import VIT_H_14, VIT_L_14, AestheticReward, Hpsv21Reward, PickScoreReward
from rsidiff_kedro.rewards.encoding import Computing, Section


class Hpsv2Settings(Section):
    """HPSv2.1 and HPSv2.0, each with its own file of one source.

    Attributes:
        checkpoint: a folder with the official files, a file, or a Hugging Face id.
        revision: of a Hugging Face id: branch, tag or commit.
        tokenizer: CLIP's: a folder or a Hugging Face id.
        antialias: how images are made smaller; the two differ by up to 0.025.
    """

    checkpoint: str = Field(default=Hpsv21Reward.hub_id, min_length=1)
    revision: str | None = None
    tokenizer: str = Field(default=VIT_H_14, min_length=1)
    antialias: bool = False


class ImageRewardSettings(Section):
    """ImageReward; fields as those of `Hpsv2Settings`, the tokenizer is BERT's."""

    checkpoint: str = Field(default=HUB_ID, min_length=1)
    revision: str | None = None
    tokenizer: str = Field(default=BERT, min_length=1)


class PickScoreSettings(Section):
    """PickScore, in transformers' format."""

    checkpoint: str = Field(default=PickScoreReward.hub_id, min_length=1)
    revision: str | None = None
    tokenizer: str = Field(default=VIT_H_14, min_length=1)


class ClipScoreSettings(Section):
    """CLIPScore, in transformers' format; without a tokenizer the checkpoint's own."""

    checkpoint: str = Field(default=VIT_L_14, min_length=1)
    revision: str | None = None
    tokenizer: str | None = None


class AestheticSettings(Section):
    """LAION's aesthetic predictor: a head, and the CLIP model that it was trained on."""

    checkpoint: str = Field(default=AestheticReward.head_id, min_length=1)
    revision: str | None = None
    clip: str = Field(default=VIT_L_14, min_length=1)


class RewardsSettings(Computing):
    """Where preference models lie and how they compute; a run opens those alone that it names."""

    hpsv2: Hpsv2Settings = Hpsv2Settings()
    image_reward: ImageRewardSettings = ImageRewardSettings()
    pick_score: PickScoreSettings = PickScoreSettings()
    clip_score: ClipScoreSettings = ClipScoreSettings()
    aesthetic: AestheticSettings = AestheticSettings()

    def options(self, name: str) -> dict[str, Any]:
        """The options of `load_reward` and `load_features` for a name; none for the embedded ones."""
        section = getattr(self, "hpsv2" if name.startswith("hpsv2.") else name, None)
        if not isinstance(section, Section):
            return {}
        return section.model_dump() | self.model_dump(include=set(Computing.model_fields))

    def within(self, root: Path) -> "RewardsSettings":
        """The settings with every relative path that exists below `root` made absolute."""
        changed = {}
        for name, section in self:
            if isinstance(section, Section):
                paths = {
                    field: str(root / value)
                    for field, value in section
                    if field in ("checkpoint", "tokenizer", "clip") and value and os.path.exists(root / value)
                }
                changed[name] = section.model_copy(update=paths)
        return self.model_copy(update=changed)
