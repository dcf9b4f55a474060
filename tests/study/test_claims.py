"""Claims are confirmed, contradicted or not observed by what a study measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.study.claims import CONFIRMED, CONTRADICTED, NOT_MEASURED, NOT_OBSERVED, Judged, judge
from rsidiff_kedro.study.comparisons import Measure
from rsidiff_kedro.study.page import write_page
from rsidiff_kedro.study.settings import Claim, StudyError, StudySettings, read_study
from rsidiff_kedro.study.statistics import Estimate, ratio
from rsidiff_kedro.study.tables import joined, round_tables

PROMPTS = 60


def values(arm: str, shares: dict[int, float]) -> pd.DataFrame:
    """A value of 1 for a share of the prompts of two seeds, in each round; which prompts is chance."""
    rng = np.random.default_rng(0)
    rows = [
        {"arm": arm, "seed": seed, "round": number, "prompt_id": f"{prompt}", "right": float(rng.random() < share)}
        for seed in (3, 4)
        for number, share in shares.items()
        for prompt in range(PROMPTS)
    ]
    return pd.DataFrame(rows)


TABLE = pd.concat([values("method", {0: 0.3, 6: 0.8, 12: 0.78}), values("naive", {0: 0.3, 6: 0.3})])
ACCURACY, RATIO = Measure("accuracy", TABLE, "right"), Measure("diversity", TABLE, "right", ratio)


@pytest.mark.parametrize(
    ("of", "over", "expected", "verdict"),
    [
        (("method", 6), ("naive", 6), "higher", CONFIRMED),
        (("naive", 6), ("method", 6), "higher", CONTRADICTED),
        (("naive", 6), ("naive", 0), "higher", NOT_OBSERVED),
        (("naive", 6), ("method", 6), "lower", CONFIRMED),
        (("method", 6), ("naive", 6), "lower", CONTRADICTED),
        (("method", 12), ("method", 6), "no lower", CONFIRMED),
        (("naive", 6), ("method", 6), "no lower", CONTRADICTED),
        (("method", 6), ("method", 0), "no lower", CONFIRMED),
    ],
)
@pytest.mark.parametrize("measure", [ACCURACY, RATIO], ids=lambda measure: measure.label)
def test_the_interval_decides(measure: Measure, of: tuple, over: tuple, expected: str, verdict: str) -> None:
    claim = Claim.model_validate({"says": "A claim.", "of": of, "over": over, "expected": expected})
    assert [each.verdict for each in judge([claim], [measure])] == [verdict]


@pytest.mark.parametrize(("number", "measure"), [(3, None), (6, "diversity")])  # the latter if no two images are right
def test_what_was_not_measured_is_called_so(number: int, measure: str | None) -> None:
    """And what was measured without an interval, as of one prompt, is not observed."""
    claim = Claim(says="A claim.", of=("method", number), over=("method", 0), expected="no lower", measure=measure)
    (found,) = judge([claim], [ACCURACY])
    assert found.verdict == NOT_MEASURED and found.measure.label == (measure or "accuracy")
    assert replace(found, found=found.found._replace(value=0.2)).verdict == NOT_OBSERVED


@pytest.mark.parametrize(("p", "verdict"), [(0.04, CONFIRMED), (0.06, NOT_OBSERVED)])
@pytest.mark.parametrize("expected", ["higher", "lower"])
def test_a_difference_that_is_not_clear_among_so_many_claims_is_not_observed(p: float, verdict: str, expected) -> None:
    sign = 1 if expected == "higher" else -1
    claim = Claim(says="A claim.", of=("method", 6), over=("naive", 6), expected=expected)
    found = Estimate(0.02 * sign, *sorted((0.001 * sign, 0.04 * sign)), p=0.01)
    other = {"higher": "lower", "lower": "higher"}[expected]
    assert Judged(claim, ACCURACY, found, p).verdict == verdict
    opposite = Judged(claim.model_copy(update={"expected": other}), ACCURACY, found, p).verdict
    assert opposite == (CONTRADICTED if verdict == CONFIRMED else NOT_OBSERVED)


def test_p_values_are_corrected_for_the_number_of_claims() -> None:
    claim = Claim(says="A claim.", of=("method", 6), over=("naive", 6))
    (alone,), (first, *_) = judge([claim], [ACCURACY]), judge([claim] * 3, [ACCURACY])
    assert first.p == pytest.approx(3 * alone.p)


def test_a_claim_about_something_unmeasured_is_refused() -> None:
    claim = Claim(says="It is pretty.", of=("method", 6), over=("naive", 6), measure="reward beauty")
    with pytest.raises(
        StudyError, match=r"'It is pretty\.' is about 'reward beauty', which was not measured; name one of accur"
    ):
        judge([claim], [ACCURACY])


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ("of: [mehtod, 2], over: [method, 0]", "there is no arm 'mehtod'; name one of method"),
        ("of: [method, 3], over: [method, 0]", "method has 2 rounds; name one of these"),
        ("of: [method, 2], over: [method, 0], measure: acuracy", "no study measures; name accuracy, .*'reward <name>'"),
    ],
)
def test_a_claim_about_a_run_that_is_not_made_is_refused(tmp_path: Path, runs: str, says: str) -> None:
    path = tmp_path / "mine.yml"
    path.write_text(f"rounds: 2\nseeds: [3]\narms: {{method: {{}}}}\nclaims:\n  - {{says: A claim., {runs}}}\n")
    with pytest.raises(StudyError, match=says):
        read_study(path)


def test_the_page_shows_remark_and_verdicts(tmp_path: Path) -> None:
    scores = [
        pd.DataFrame(
            {"prompt_id": list("abcd") * 5, "sample_index": np.repeat(range(5), 4), "proxy": level + np.arange(20) % 4}
        )
        for level in (0.0, 9.0)
    ]
    tables = joined([round_tables("method", 3, number, table, ["proxy"], {}) for number, table in enumerate(scores)])
    claim = {"says": "It gets better.", "of": ["method", 1], "over": ["method", 0]}
    study = {"about": "Run | by hand.", "rounds": 1, "seeds": [3], "arms": {"method": {}}, "claims": [claim]}
    write_page(tmp_path / "page.md", "mine", StudySettings.model_validate(study), tables)
    page = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "\nRun | by hand.\n" in page
    assert (
        "| It gets better. | **confirmed** | reward proxy +9.000 [" in page
        and "| method, round 1 minus method, base |" in page
    )
