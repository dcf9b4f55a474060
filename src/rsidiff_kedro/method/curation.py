"""Prompt curation: train on prompts that the model can learn from and that cover the others.

1. Probe. Generate a few cheap images per prompt with the base model and score them.
2. Drop the prompts with the lowest mean reward as hopeless, because the model's images would not match them, and those
   with the highest as solved.
3. Take a diverse subset of the rest as the pool from which rounds choose their prompts.
"""

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import linear_kernel
from sklearn.preprocessing import normalize

from rsidiff_kedro.core.prompt_table import REJECT_COLUMNS, Embed, PromptCountError
from rsidiff_kedro.core.random_order import random_order
from rsidiff_kedro.method.settings import CurationSettings, ProbeSettings
from rsidiff_kedro.prompts.characters import without_unseen_marks, word_characters


def select_pool(
    candidates: pd.DataFrame,
    probe_scores: pd.DataFrame | None,
    settings: CurationSettings,
    seed: int,
    embed: Embed | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the pool of `settings.pool_size` training prompts, and the dropped candidates.

    With curation, drop prompts by the rules hopeless, solved and not_diverse; without, take a random subset (rule
    not_drawn). The result does not depend on the rows' order.

    Args:
        candidates: a prompt table.
        probe_scores: one row per probe image: prompt_id and the column of `settings.probe.reward`; None without
            curation.
        settings: see `CurationSettings`.
        seed: of the random choices.
        embed: needed if `settings.diversity` is "text_encoder".

    Raises:
        PromptCountError: fewer prompts than `pool_size` are left.
        ValueError: the probe's scores are missing, not finite, or not of every candidate; or `embed` is missing.
    """
    by_words = settings.diversity == "words"
    if not by_words and embed is None:
        raise ValueError("diversity 'text_encoder' needs embed")
    shuffled = candidates.iloc[random_order(candidates["prompt_id"], seed, "pool")].reset_index(drop=True)
    shuffled = shuffled.assign(rule="", detail="")
    if settings.enabled:
        _apply_probe(shuffled, probe_scores, settings.probe)
    left = shuffled.index[shuffled["rule"] == ""]
    if len(left) < settings.pool_size:
        raise PromptCountError(
            f"{len(left)} of {len(shuffled)} training candidates are left for a pool of {settings.pool_size}; raise "
            "the number of prompts in `prompt_curation.source`, or lower `pool_size`, `probe.drop_lowest` or "
            "`probe.drop_highest`"
        )
    if settings.enabled:
        texts = shuffled.loc[left, "text"].tolist()
        chosen = left[choose_diverse(texts, settings.pool_size, None if by_words else embed)]
        rule, detail = "not_diverse", f"other prompts cover its {'words' if by_words else 'embedding'}"
    else:
        chosen = left[: settings.pool_size]
        rule, detail = "not_drawn", "the pool was chosen at random"
    shuffled.loc[left.difference(chosen), ["rule", "detail"]] = rule, detail
    pool = shuffled.loc[chosen].drop(columns=["rule", "detail"]).reset_index(drop=True)
    return pool, shuffled.loc[shuffled["rule"] != "", list(REJECT_COLUMNS)].reset_index(drop=True)


def _apply_probe(table: pd.DataFrame, probe_scores: pd.DataFrame | None, probe: ProbeSettings) -> None:
    """Fill in `rule` and `detail` of the prompts with the lowest and the highest mean reward."""
    reward = probe.reward
    if probe_scores is None or reward not in probe_scores:
        columns = [] if probe_scores is None else sorted(probe_scores.columns)
        raise ValueError(f"the probe's scores lack the reward {reward!r}; they have the columns {columns}")
    # sorted, because a sum's rounding depends on the order
    by_prompt = probe_scores.sort_values(["prompt_id", reward]).groupby("prompt_id")[reward].mean(skipna=False)
    means = table["prompt_id"].map(by_prompt).astype(float)
    wrong = table.loc[~np.isfinite(means), "prompt_id"]
    if len(wrong):
        raise ValueError(
            f"{len(wrong)} of {len(table)} prompts have no finite {reward!r} from the probe, first {wrong.iloc[0]}; "
            "probe every candidate, and check the reward"
        )
    ascending = means.sort_values(kind="stable").index
    lowest, highest = probe.dropped(len(table))
    for rule, rows, end, share in (
        ("hopeless", ascending[:lowest], "lowest", probe.drop_lowest),
        ("solved", ascending[len(table) - highest :], "highest", probe.drop_highest),
    ):
        table.loc[rows, "rule"] = rule
        table.loc[rows, "detail"] = [f"mean {reward} {means[row]:.4g}, of the {end} {share:.0%}" for row in rows]


def choose_diverse(texts: list[str], size: int, embed: Embed | None = None) -> np.ndarray:
    """Choose the positions of `size` texts that cover the others: greedy k-center by cosine distance.

    Start with the first text and continue with the one farthest from all chosen; ties go to the earlier text. Without
    `embed`, texts are compared by TF-IDF of their words.
    """
    if embed is None:
        inside = word_characters()
        words = TfidfVectorizer(token_pattern=rf"[{inside}]+|[^\s{inside}]")
        vectors = words.fit_transform(map(without_unseen_marks, texts))
    else:
        vectors = normalize(np.asarray(embed(texts), dtype=np.float64))
    chosen = [0]
    nearest = np.full(len(texts), np.inf)
    while len(chosen) < size:
        similarity = linear_kernel(vectors, vectors[[chosen[-1]]]).ravel()
        nearest = np.minimum(nearest, np.round(1 - similarity, 9))  # rounded, so that ties stay ties
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return np.array(chosen[:size])
