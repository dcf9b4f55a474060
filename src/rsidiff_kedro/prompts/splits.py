"""Split prompts into training, validation and test sets, and choose the prompts of each round."""

import numpy as np
import pandas as pd

from rsidiff_kedro.core.prompt_table import PromptCountError, check_prompt_table
from rsidiff_kedro.core.random_order import random_order


def split_prompts(
    filtered: pd.DataFrame, validation_size: int, test_size: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return disjoint training candidates, validation and test prompts, of exactly these sizes.

    Validation and test prompts are a random part of those that `can_evaluate`, in the proportions of `category`. The
    others are candidates; so are those of the split "" that are left over. The result does not depend on the rows'
    order.

    A prompt is for testing if its id ends in a digit and for validation if it ends in a letter, as far as there are
    enough of each. So what is chosen on the validation prompts of one seed is not chosen on test prompts of another.

    Raises:
        PromptCountError: there are too few prompts.
        PromptTableError: they are no prompt table.
    """
    check_prompt_table(filtered, "the table of filtered prompts")
    if filtered.empty:
        raise PromptCountError(
            "no prompt is left after the filters; the table rejected_by_filter names the rule that dropped each: "
            "change `prompt_curation.source` or `filters`"
        )
    shuffled = filtered.iloc[random_order(filtered["prompt_id"], seed, "split")]
    evaluates = can_evaluate(shuffled)
    held_out, candidates = shuffled[evaluates], shuffled[~evaluates]
    shared = bool((held_out["split"] == "").any())  # then those that are left over train
    needed = validation_size + test_size
    left_over = len(held_out) - needed
    if left_over < 0 or len(candidates) + shared * left_over < 1:
        more = "prompts (`source`)" if candidates.empty else "prompts that `source` does not mark 'pool'"
        if not shared:
            more = "evaluation prompts (`source.evaluation_count` or `evaluation_source`)"
        raise PromptCountError(
            f"{len(filtered)} prompts are left after the filters, {len(held_out)} of them can evaluate, but "
            f"validation_size ({validation_size}) and test_size ({test_size}) need {needed} and training at least one "
            f"more; raise the number of {more} or lower the sizes; "
            "rejected_by_filter names the rule that dropped each of the others"
        )
    # Those for testing come first.
    held_out = held_out.sort_values("prompt_id", key=lambda ids: ids.str[-1] > "9", kind="stable")
    test = _take_stratified(held_out, test_size)
    rest = held_out.drop(test.index)[::-1]
    validation = _take_stratified(rest, validation_size)
    candidates = pd.concat([candidates, rest.drop(validation.index)]) if shared else candidates
    parts = ((candidates, "pool"), (validation, "validation"), (test, "test"))
    pool, checked, tested = (part.assign(split=split).reset_index(drop=True) for part, split in parts)
    return pool, checked, tested


def can_evaluate(prompts: pd.DataFrame) -> pd.Series:
    """Tell which prompts may validate and test: those for "evaluation" or, where there are none, of the split ""."""
    separate = prompts["split"] == "evaluation"
    return separate if separate.any() else prompts["split"] == ""


def _take_stratified(rows: pd.DataFrame, size: int) -> pd.DataFrame:
    """Return the first rows of each category, `size` in all, in the categories' proportions (largest remainders)."""
    exact = rows.groupby("category").size() * size / len(rows)
    quota = np.floor(exact).astype(int)
    missing = size - int(quota.sum())
    quota[(exact - quota).sort_values(ascending=False, kind="stable").index[:missing]] += 1
    return rows[rows.groupby("category").cumcount() < rows["category"].map(quota)]


def choose_round_prompts(pool: pd.DataFrame, prompts_per_round: int, seed: int, round_number: int) -> pd.DataFrame:
    """Return the prompts of a round, none twice, with `round` set; they depend on the pool, the seed and the round.

    Rounds use up the pool in a random order, then in a new one.

    Raises:
        PromptCountError: the pool has fewer prompts than a round needs.
        ValueError: the round is less than 1.
    """
    if not 1 <= prompts_per_round <= len(pool):
        raise PromptCountError(
            f"a round needs {prompts_per_round} prompts but the pool has {len(pool)}; "
            "raise `prompt_curation.pool_size` or lower `prompts_per_round`"
        )
    if round_number < 1:
        raise ValueError(f"rounds with prompts are counted from 1, not {round_number}; round 0 is the base model")
    waiting: list[int] = []
    chosen: list[int] = []
    epoch = 0
    for _ in range(round_number):
        chosen, waiting = waiting[:prompts_per_round], waiting[prompts_per_round:]
        if len(chosen) < prompts_per_round:
            epoch += 1
            fresh = random_order(pool["prompt_id"], seed, "round", epoch)
            added = fresh[~np.isin(fresh, chosen)][: prompts_per_round - len(chosen)]
            waiting = fresh[~np.isin(fresh, added)].tolist()
            chosen += added.tolist()
    return pool.iloc[chosen].assign(round=round_number).reset_index(drop=True)
