"""Open preference models and image embeddings by name: `load_reward(name).score(images, prompts)`."""

import difflib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import yaml

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import expand
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.rewards.official import OfficialReward
from rsidiff_kedro.rewards.protocol import Features, Reward, as_record, as_reward, bind, on_copies
from rsidiff_kedro.rewards.settings import Computing, RewardsSettings

BUILT_IN = {
    "proxy": "rsidiff_kedro.scenes.plugins.proxy:ProxyReward",
    "oracle": "rsidiff_kedro.scenes.plugins.oracle:OracleReward",
    "hpsv2_1": "rsidiff_kedro.rewards.clip:Hpsv21Reward",
    "hpsv2_0": "rsidiff_kedro.rewards.clip:Hpsv20Reward",
    "image_reward": "rsidiff_kedro.rewards.image_reward:ImageRewardReward",
    "pick_score": "rsidiff_kedro.rewards.clip:PickScoreReward",
    "clip_score": "rsidiff_kedro.rewards.clip:ClipScoreReward",
    "aesthetic": "rsidiff_kedro.rewards.clip:AestheticReward",
    "votes": "rsidiff_kedro.rewards.votes:VotesReward",
}
EMBEDDINGS = ("proxy", "hpsv2_1", "pick_score", "clip_score")
REWARDS = Registry("reward", "rsidiff_kedro.rewards", BUILT_IN)
FEATURES = Registry("features", "rsidiff_kedro.features", {name: BUILT_IN[name] for name in EMBEDDINGS})

OFFICIAL = "official_python"
"""The option that an official package is opened with, and no native model."""


def load_reward(name: str, **options: Any) -> Reward:
    """Open a preference model.

    Args:
        name: registered, or `package.module:Name` of your own class or function; see `as_reward`.
        options: keyword arguments, such as `checkpoint`: a local folder or file, or a Hugging Face id.

    Raises:
        PluginError: the name is unknown.
        CheckpointError: the checkpoint or the tokenizer cannot be used.
    """
    plugin = REWARDS.load(name)
    if OFFICIAL in options:
        return OfficialReward(name, plugin, **options)
    return bind(plugin, options, name)() if name in BUILT_IN else as_reward(plugin, options, name)


def compares_samples(name: str) -> bool:
    """Tell whether a reward scores all samples of a prompt together."""
    plugin = REWARDS.load(name)
    return bool(getattr(plugin, "by_prompt", hasattr(plugin, "score_prompt") and not hasattr(plugin, "score")))


def load_features(name: str, **options: Any) -> Features:
    """Open an image embedding; same arguments and errors as `load_reward`."""
    if OFFICIAL in options:
        raise InputError(
            f"the official package of {name} returns scores and no features; set its implementation to native, or name "
            "other features"
        )
    opened = bind(FEATURES.load(name), options, name)()
    if not hasattr(opened, "embed"):
        raise InputError(f"the features {name!r} are no features: give a class with embed(images, prompts)")
    return opened if name in BUILT_IN else on_copies(opened)


def check_settings(names: Iterable[str], settings: RewardsSettings) -> None:
    """Raise InputError if options have a misspelt name, or one file would serve as two of these models.

    Args:
        names: of rewards and features that are opened, whose names other checks examine.
        settings: of all.
    """
    names = {*names}
    for name in sorted(settings.custom.keys() - names):
        _check_known(name, settings.custom[name], names)
    versions = sorted(name for name in names if name.startswith("hpsv2_"))
    if len(versions) > 1 and os.path.isfile(expand(settings.hpsv2.checkpoint)):
        raise InputError(
            f"rewards.hpsv2.checkpoint is the file {settings.hpsv2.checkpoint!r}, which would serve both "
            f"{' and '.join(versions)}; give a folder that holds the official file of each, or name one of the two"
        )


def _check_known(name: str, options: Mapping[str, Any], opened: set[str]) -> None:
    """Raise InputError if there are no such rewards or features, and their name looks like a slip.

    Those of a package that is on another machine only may have options here, too.
    """
    if name in FEATURES or REWARDS.is_there(name):
        return
    joined, rest = name, options
    while ":" not in joined and len(rest) == 1 and isinstance(part := next(iter(rest.values())), dict):
        joined, rest = f"{joined}.{next(iter(rest))}", part
    known = sorted({*opened, *REWARDS.names, *FEATURES.names})
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.9 if ":" in name else 0.8)
    if ":" in joined and joined != name:
        whole = yaml.safe_dump({joined: dict(rest)}, default_flow_style=True, sort_keys=False, width=math.inf).strip()
        advice = f"its dots part the name {joined!r}; keep it whole: rewards.custom={whole}"
    elif close:
        advice = f"did you mean {close[0]!r}?"
    else:
        return
    raise InputError(f"rewards.custom has options of {name!r}, and there are no such rewards or features; {advice}")


def check_reward(name: str, **options: Any) -> None:
    """Raise the errors of `load_reward` within seconds; of the network at most the text encoder computes."""
    _check(REWARDS, load_reward, name, options)


def check_features(name: str, **options: Any) -> None:
    """Raise the errors of `load_features`, as `check_reward` does."""
    _check(FEATURES, load_features, name, options)


def _check(registry: Registry, load: Callable[..., Any], name: str, options: dict[str, Any]) -> None:
    plugin = registry.load(name)
    if OFFICIAL in options and registry is REWARDS:
        OfficialReward.check(name, plugin, **options)
    elif hasattr(plugin, "check") and OFFICIAL not in options:
        plugin.check(**options)
        _ = Computing(device=options.get("device", "auto")).place
    else:
        opened = load(name, **options)
        try:
            record = getattr(opened, "record", {})
        except Exception:  # the first scores may fill what it is made of
            return
        as_record(record, name)
