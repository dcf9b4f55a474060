"""Split prompts into training, validation and test sets, and choose the prompts of each round."""

import numpy as np
import pandas as pd

from rsidiff_kedro.core.prompt_table import PromptCountError
from rsidiff_kedro.core.random_order import random_order


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


def choose_round_prompts(pool: pd.DataFrame, prompts_per_round: int, seed: int, round_number: int) -> pd.DataFrame:
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
