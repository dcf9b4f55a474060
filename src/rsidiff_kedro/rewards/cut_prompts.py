"""Count the prompts that rewards read only the beginning of."""

from collections.abc import Iterable, Sequence

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.rewards.registry import REWARDS
from rsidiff_kedro.rewards.settings import RewardsSettings


def describe_cut_prompts(names: Iterable[str], settings: RewardsSettings, prompts: Sequence[str]) -> list[str]:
    """Return one text for each reward that reads fewer tokens than some of the prompts have.

    Only tokenizers are opened. Rewards without `token_counts` are taken to read whole prompts. A reward that cannot be
    opened is left out: the check of what opens it says what is wrong.
    """
    found, different = [], list(dict.fromkeys(prompts))
    for name in names:
        try:
            plugin = REWARDS.load(name)
            if not different or not hasattr(plugin, "token_counts"):
                continue
            counts, most = plugin.token_counts(different, **settings.options(name))
        except InputError:
            continue
        cut = [(prompt, count) for prompt, count in zip(different, counts, strict=True) if count > most]
        if cut:
            found.append(
                f"{name} reads {most} tokens and cuts {len(cut)} of {len(different)} prompts ({cut[0][0][:60]!r} "
                f"first, which has {cut[0][1]})"
            )
    return found
