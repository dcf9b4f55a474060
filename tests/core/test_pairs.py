"""Images of two tables of scores are pairs by their prompt and sample."""

import pandas as pd
import pytest

from rsidiff_kedro.core.pairs import UnpairedError, paired

SCORES = pd.DataFrame({"prompt_id": list("aabb"), "sample_index": [0, 1, 0, 1], "proxy": [1.0, 2.0, 3.0, 4.0]})


def test_partners_have_one_place_whatever_the_order_of_the_rows() -> None:
    first, second = paired(SCORES, SCORES.iloc[::-1])
    assert first["proxy"].tolist() == second["proxy"].tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            SCORES.assign(prompt_id=list("xxyy")),
            r"of 4 and 4 images, .* 8 of these images, sample 0 of the prompt a first",
        ),
        (SCORES.iloc[:3], "of 4 and 3 images, .* 1 of these images, sample 1 of the prompt b .*; run all rounds with"),
        (
            SCORES.assign(sample_index=0),
            "second of two tables of scores has more than one row for sample 0 of the prompt",
        ),
    ],
)
def test_rows_without_one_partner_are_refused(other: pd.DataFrame, said: str) -> None:
    with pytest.raises(UnpairedError, match=said):
        paired(SCORES, other)
