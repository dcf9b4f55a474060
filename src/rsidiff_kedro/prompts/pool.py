"""Which prompts train and which evaluate: splits, the probe's rule, a diverse pool, and each round's draw."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from rsidiff_kedro.prompts.settings import CurationSettings
from rsidiff_kedro.prompts.table import REJECT_COLUMNS, PromptCountError
from rsidiff_kedro.statistics.random_order import random_order


def split_prompts(
    filtered: pd.DataFrame, validation_size: int, test_size: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Disjoint training candidates, validation and test prompts, of exactly these sizes.

    If prompts carry the split "evaluation", validation and test are drawn from those and the others are candidates;
    else all are split at random. Both keep the proportions of `category`. The result does not depend on the rows'
    order.

    Raises:
        PromptCountError: there are too few prompts.
    """
    if filtered.empty:
        raise PromptCountError(
            "no prompt is left after the filters; the table rejected_by_filter names the rule that dropped each: "
            "change `prompt_curation.source` or `filters`"
        )
    marked = bool((filtered["split"] == "evaluation").any())
    shuffled = filtered.iloc[random_order(filtered["prompt_id"], seed, "split")]
    held_out = shuffled[shuffled["split"] == "evaluation"] if marked else shuffled
    needed = validation_size + test_size
    candidates = shuffled[shuffled["split"] != "evaluation"]
    if len(held_out) < needed or (len(held_out) == needed and not marked) or candidates.empty:
        raise PromptCountError(
            f"{len(filtered)} prompts are left after the filters, {len(held_out)} of them can evaluate, but "
            f"validation_size ({validation_size}) and test_size ({test_size}) need {needed} and training at least one "
            f"more; raise the number of {_where_more(marked)} or lower the sizes"
        )
    test = _take_stratified(held_out, test_size)
    rest = held_out.drop(test.index)
    validation = _take_stratified(rest, validation_size)
    if not marked:
        candidates = rest.drop(validation.index)
    parts = ((candidates, "pool"), (validation, "validation"), (test, "test"))
    pool, checked, tested = (part.assign(split=split).reset_index(drop=True) for part, split in parts)
    return pool, checked, tested


def _where_more(marked: bool) -> str:
    return "evaluation prompts (`source.evaluation_count` or `evaluation_source`)" if marked else "prompts (`source`)"


def _take_stratified(rows: pd.DataFrame, size: int) -> pd.DataFrame:
    """The first rows of each category, `size` in all, in the categories' proportions (largest remainders)."""
    exact = rows.groupby("category").size() * size / len(rows)
    quota = np.floor(exact).astype(int)
    missing = size - int(quota.sum())
    quota[(exact - quota).sort_values(ascending=False, kind="stable").index[:missing]] += 1
    return rows[rows.groupby("category").cumcount() < rows["category"].map(quota)]


def select_pool(
    candidates: pd.DataFrame,
    probe_scores: pd.DataFrame | None,
    settings: CurationSettings,
    seed: int,
    embed: Callable[[list[str]], np.ndarray] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pool of training prompts, `settings.pool_size` of them, and the candidates that were dropped.

    With curation, the probe drops the prompts with the lowest mean reward (rule hopeless) and the highest (solved),
    and a diverse subset of the others is taken (not_diverse). Without, a random subset (not_drawn). The result does
    not depend on the rows' order.

    Args:
        candidates: a prompt table.
        probe_scores: a row a probe image: prompt_id and the column of `settings.probe.reward`; None without curation.
        settings: see `CurationSettings`.
        seed: of the random choices.
        embed: gives texts' embeddings [n, d]; needed where `settings.diversity` is "text_encoder".

    Raises:
        PromptCountError: fewer prompts than `pool_size` are left.
        ValueError: the probe's scores are missing, not finite, or not of every candidate; or `embed` is missing.
    """
    by_words = settings.diversity == "words"
    if not by_words and embed is None:
        raise ValueError("a pool that covers the text encoder's embeddings needs embed")
    shuffled = candidates.iloc[random_order(candidates["prompt_id"], seed, "pool")].reset_index(drop=True)
    shuffled = shuffled.assign(rule="", detail="")
    if settings.enabled:
        _apply_probe(shuffled, probe_scores, settings)
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
        rule, detail = "not_drawn", "a random pool was drawn"
    shuffled.loc[left.difference(chosen), ["rule", "detail"]] = rule, detail
    pool = shuffled.loc[chosen].drop(columns=["rule", "detail"]).reset_index(drop=True)
    return pool, shuffled.loc[shuffled["rule"] != "", list(REJECT_COLUMNS)].reset_index(drop=True)


def _apply_probe(table: pd.DataFrame, probe_scores: pd.DataFrame | None, settings: CurationSettings) -> None:
    """Fill in `rule` and `detail` of the prompts with the lowest and the highest mean reward."""
    reward = settings.probe.reward
    if probe_scores is None or reward not in probe_scores:
        columns = [] if probe_scores is None else sorted(probe_scores.columns)
        raise ValueError(f"the probe's scores lack the reward {reward!r}; they have the columns {columns}")
    # sorted, because a sum's rounding depends on the order
    by_prompt = probe_scores.sort_values(["prompt_id", reward]).groupby("prompt_id")[reward].mean(skipna=False)
    means = table["prompt_id"].map(by_prompt).astype(float)
    if not np.isfinite(means).all():
        wrong = table.loc[~np.isfinite(means), "prompt_id"]
        raise ValueError(
            f"{len(wrong)} of {len(table)} prompts have no finite {reward!r} from the probe, first {wrong.iloc[0]}; "
            "probe every candidate, and check the reward"
        )
    ascending = means.sort_values(kind="stable").index
    lowest, highest = settings.probe.dropped(len(table))
    shares = (
        ("hopeless", ascending[:lowest], "lowest", settings.probe.drop_lowest),
        ("solved", ascending[len(table) - highest :], "highest", settings.probe.drop_highest),
    )
    for rule, rows, end, share in shares:
        table.loc[rows, "rule"] = rule
        table.loc[rows, "detail"] = [f"mean {reward} {means[row]:.4g}, of the {end} {share:.0%}" for row in rows]


def choose_diverse(texts: list[str], size: int, embed: Callable[[list[str]], np.ndarray] | None = None) -> np.ndarray:
    """Positions of `size` texts that cover the others: greedy k-center by cosine distance.

    Starts with the first text and goes on with the one farthest from all chosen; ties go to the earlier text.

    Args:
        texts: to choose from.
        size: how many.
        embed: gives their vectors [n, d]; None for TF-IDF of their words.
    """
    if embed is None:
        vectors = TfidfVectorizer(token_pattern=r"\w+|[^\w\s]").fit_transform(texts)
    else:
        vectors = normalize(np.asarray(embed(texts), dtype=np.float64))
    chosen = [0]
    nearest = np.full(len(texts), np.inf)
    while len(chosen) < size:
        similarity = vectors @ vectors[chosen[-1]].T
        similarity = similarity.toarray().ravel() if issparse(similarity) else similarity
        # rounded, so that ties are ties whatever the order of the sums
        nearest = np.minimum(nearest, np.round(1 - similarity, 9))
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return np.array(chosen[:size])


def draw_round_prompts(pool: pd.DataFrame, prompts_per_round: int, seed: int, round_number: int) -> pd.DataFrame:
    """The prompts of a round, none twice, with `round` set: a function of the pool, the seed and the round alone.

    Rounds go through the pool in a random order, and through a new one when it is used up.

    Raises:
        PromptCountError: the pool has fewer prompts than a round needs.
        ValueError: rounds are counted from 1.
    """
    if not 1 <= prompts_per_round <= len(pool):
        raise PromptCountError(
            f"a round needs {prompts_per_round} prompts but the pool has {len(pool)}; "
            "raise `prompt_curation.pool_size` or lower `prompts_per_round`"
        )
    if round_number < 1:
        raise ValueError(f"rounds that draw prompts are counted from 1, not {round_number}; round 0 is the base model")
    waiting: list[int] = []
    drawn: list[int] = []
    epoch = 0
    for _ in range(round_number):
        drawn, waiting = waiting[:prompts_per_round], waiting[prompts_per_round:]
        if len(drawn) < prompts_per_round:
            epoch += 1
            fresh = random_order(pool["prompt_id"], seed, "round", epoch).tolist()
            added = [row for row in fresh if row not in set(drawn)][: prompts_per_round - len(drawn)]
            waiting = [row for row in fresh if row not in set(added)]
            drawn = drawn + added
    return pool.iloc[drawn].assign(round=round_number).reset_index(drop=True)
