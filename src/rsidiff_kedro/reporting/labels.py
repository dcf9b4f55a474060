"""Name measures alike in summary, report and plots: which rewards select, and what diversity means."""

from collections.abc import Collection

from rsidiff_kedro.reporting.values import Metrics, is_measured

SPREAD = "test/embedding_spread"
"""The metric that is only there beside a judge's diversity."""


def role(reward: str, selecting: Collection[str]) -> str:
    """Return whether a reward selects training images or is held out to measure them; see `method.selecting`."""
    return "selects" if reward in selecting else "held out"


def reward_label(reward: str, selecting: Collection[str] | None) -> str:
    """Return a reward's name with its role; None for unknown roles."""
    return reward if selecting is None else f"{reward} ({role(reward, selecting)})"


def metric_label(key: str, selecting: Collection[str]) -> str:
    """Return a metric's name, with the role of the reward that it is about."""
    for part in ("reward/", "win_rate_over_base/"):
        _, found, reward = key.partition(f"/{part}")
        if found:
            return f"{key} ({role(reward, selecting)})"
    return key


def diversity_meaning(rounds: Collection[Metrics]) -> str:
    """Say in one sentence what the diversity of these rounds measures."""
    if is_measured(rounds, SPREAD):
        return "the share of attributes left open by a prompt in which two right samples of it differ"
    return "the mean cosine distance between the embeddings of two samples of a prompt"


MEANINGS = {
    "embedding_spread": "Mean cosine distance between the embeddings of two samples of a prompt. Wrong samples differ "
    "most, so it also falls as a model gets better; diversity counts right samples only.",
    "distance_to_base": "Fréchet distance between the embeddings of the round's test images and the base's.",
    "reward_gap": "Gain over the base of the rewards that select minus the gain of what is held out, in standard "
    "deviations of the base's images. A growing positive gap is a sign of reward hacking.",
}
"""Explanations of metrics whose names do not say it all."""
