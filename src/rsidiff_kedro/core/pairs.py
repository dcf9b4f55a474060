"""Pair the images of two tables of scores by prompt and sample, never by position."""

from typing import Any

import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import PAIR

_CURE = "run all rounds with --only-missing-outputs"


class UnpairedError(InputError):
    """Two tables of scores that are not of the same prompts and samples."""


def paired(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables of scores by `PAIR`, sorted, so that rows of one place are partners.

    Raises:
        UnpairedError: an image of one table has no partner in the other, or has more than one row.
    """
    one, other = (table.set_index(PAIR).sort_index() for table in (first, second))
    for name, table in (("first", one), ("second", other)):
        if table.index.has_duplicates:
            twice = _image(table.index[table.index.duplicated()])
            raise UnpairedError(f"the {name} of two tables of scores has more than one row for {twice}; {_CURE}")
    alone = one.index.symmetric_difference(other.index)
    if len(alone):
        raise UnpairedError(
            f"two tables of scores, of {len(one)} and {len(other)} images, are to be compared in pairs, but "
            f"{len(alone)} of these images, {_image(alone)} first, have no partner of the same prompt and sample; "
            f"{_CURE}"
        )
    return one, other


def _image(index: Any) -> str:
    prompt, sample = index[0]
    return f"sample {sample} of the prompt {prompt}"
