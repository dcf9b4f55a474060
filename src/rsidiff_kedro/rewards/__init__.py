"""Preference models by name: `load_reward(name).score(images, prompts)`; image features: `load_features(name)`."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from rsidiff_kedro.devices import OPENING
from rsidiff_kedro.rewards.blip import ImageRewardReward
from rsidiff_kedro.rewards.clip import AestheticReward, ClipScoreReward, Hpsv20Reward, Hpsv21Reward, PickScoreReward
from rsidiff_kedro.rewards.encoding import Computing
from rsidiff_kedro.rewards.oracle import OracleReward
from rsidiff_kedro.rewards.proxy import ProxyReward

T = TypeVar("T")


class Reward(Protocol):
    """Scores how well images fit their prompts."""

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """float32 [n], higher is better; comparable within a prompt."""


class Features(Protocol):
    """Embeds images."""

    def embed(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """float32 [n, d]."""


_REWARDS: dict[str, type[Reward]] = {
    "proxy": ProxyReward,
    "oracle": OracleReward,
    "hpsv2.1": Hpsv21Reward,
    "hpsv2.0": Hpsv20Reward,
    "image_reward": ImageRewardReward,
    "pick_score": PickScoreReward,
    "clip_score": ClipScoreReward,
    "aesthetic": AestheticReward,
}
_FEATURES: dict[str, type[Features]] = {
    "proxy": ProxyReward,
    "hpsv2.1": Hpsv21Reward,
    "pick_score": PickScoreReward,
    "clip_score": ClipScoreReward,
}


def reward_names() -> tuple[str, ...]:
    """The names that `load_reward` knows."""
    return tuple(_REWARDS)


def features_names() -> tuple[str, ...]:
    """The names that `load_features` knows."""
    return tuple(_FEATURES)


def load_reward(name: str, **options: Any) -> Reward:
    """Open a preference model; options go to its class (`checkpoint`: a local folder or file, or a Hugging Face id).

    Raises:
        ValueError: the name is unknown; the message lists the names that are known.
        CheckpointError: the checkpoint or the tokenizer cannot be used.
    """
    with OPENING:
        return _lookup(_REWARDS, name, "reward")(**options)


def load_features(name: str, **options: Any) -> Features:
    """Open an embedding of images, by the same names and with the same errors as `load_reward`."""
    with OPENING:
        return _lookup(_FEATURES, name, "features")(**options)


def check_reward(name: str, **options: Any) -> None:
    """Raise what `load_reward` or `load_features` would raise with these options, in a second and without computing."""
    kind: Any = _lookup({**_FEATURES, **_REWARDS}, name, "reward")
    if hasattr(kind, "check"):
        kind.check(**options)
        _ = Computing(device=options.get("device", "auto")).place


def _lookup(registry: dict[str, type[T]], name: str, kind: str) -> type[T]:
    if name not in registry:
        raise ValueError(f"there are no {kind} named {name!r}; there are {', '.join(sorted(registry))}")
    return registry[name]
