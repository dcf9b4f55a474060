"""Preference models and image embeddings by name: `load_reward(name).score(images, prompts)`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.rewards.clip import AestheticSettings, ClipScoreSettings, Hpsv2Settings, PickScoreSettings
from rsidiff_kedro.rewards.encoding import Computing
from rsidiff_kedro.rewards.image_reward import ImageRewardSettings
from rsidiff_kedro.rewards.protocol import Features, Reward, as_reward, open_plugin

_CLIP = "rsidiff_kedro.rewards.clip"
_PROXY = "rsidiff_kedro.scenes.plugins.proxy:ProxyReward"
REWARDS = Registry(
    "reward",
    "rsidiff_kedro.rewards",
    {
        "proxy": _PROXY,
        "oracle": "rsidiff_kedro.scenes.plugins.oracle:OracleReward",
        "hpsv2_1": f"{_CLIP}:Hpsv21Reward",
        "hpsv2_0": f"{_CLIP}:Hpsv20Reward",
        "image_reward": "rsidiff_kedro.rewards.image_reward:ImageRewardReward",
        "pick_score": f"{_CLIP}:PickScoreReward",
        "clip_score": f"{_CLIP}:ClipScoreReward",
        "aesthetic": f"{_CLIP}:AestheticReward",
    },
)
FEATURES = Registry(
    "features",
    "rsidiff_kedro.features",
    {
        "proxy": _PROXY,
        "hpsv2_1": f"{_CLIP}:Hpsv21Reward",
        "pick_score": f"{_CLIP}:PickScoreReward",
        "clip_score": f"{_CLIP}:ClipScoreReward",
    },
)


class RewardsSettings(Computing):
    """Where preference models lie and how they compute; a run opens only those that it names.

    Attributes:
        custom: keyword arguments of your own rewards and features, by name.
    """

    hpsv2: Hpsv2Settings = Hpsv2Settings()
    image_reward: ImageRewardSettings = ImageRewardSettings()
    pick_score: PickScoreSettings = PickScoreSettings()
    clip_score: ClipScoreSettings = ClipScoreSettings()
    aesthetic: AestheticSettings = AestheticSettings()
    custom: dict[str, dict[str, Any]] = Field(default={})

    def options(self, name: str) -> dict[str, Any]:
        """Return the keyword arguments of a reward or embedding; none for the embedded ones."""
        if name in self.custom:
            return self.custom[name]
        section = getattr(self, "hpsv2" if name.startswith("hpsv2_") else name, None)
        if not isinstance(section, Section):
            return {}
        return section.model_dump() | self.model_dump(include=set(Computing.model_fields))

    def within(self, root: Path) -> "RewardsSettings":
        """Make every relative path that exists below `root` absolute."""
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


def load_reward(name: str, **options: Any) -> Reward:
    """Open a preference model.

    Args:
        name: registered, or `package.module:Name` of a class or function of your own; see `as_reward`.
        options: keyword arguments of its class, such as `checkpoint`: a local folder or file, or a Hugging Face id.

    Raises:
        PluginError: the name is unknown.
        CheckpointError: the checkpoint or the tokenizer cannot be used.
    """
    return as_reward(REWARDS.load(name), options, name)


def load_features(name: str, **options: Any) -> Features:
    """Open an image embedding; same arguments and errors as `load_reward`."""
    opened = open_plugin(FEATURES.load(name), options, name)
    if not hasattr(opened, "embed"):
        raise InputError(f"the features {name!r} are no features: give a class with embed(images, prompts)")
    return cast(Features, opened)


def check_reward(name: str, **options: Any) -> None:
    """Raise what `load_reward` would raise with these options, within a second and without computing."""
    plugin = REWARDS.load(name)
    if not _check(plugin, options):
        as_reward(plugin, options, name)


def check_features(name: str, **options: Any) -> None:
    """Raise what `load_features` would raise, as `check_reward` does."""
    if not _check(FEATURES.load(name), options):
        load_features(name, **options)


def _check(plugin: Any, options: Mapping[str, Any]) -> bool:
    if not hasattr(plugin, "check"):
        return False
    plugin.check(**options)
    _ = Computing(device=options.get("device", "auto")).place
    return True
