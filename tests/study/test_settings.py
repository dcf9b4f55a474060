"""A study's file is read, and what is wrong with it is said in one line."""

import re
from contextlib import nullcontext
from pathlib import Path

import pytest

from rsidiff_kedro.study.settings import Measured, StudyError, nested, read_study

GOOD = "rounds: 2\nseeds: [3, 4]\narms:\n  method: {}\n  naive: {params: {weighting.enabled: false}}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yml"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_arm_is_compared_with_the_first_by_default(tmp_path: Path) -> None:
    settings = read_study(written(tmp_path, GOOD))
    assert settings.pairs == (("naive", "method", None),)
    assert settings.rounds_of("naive") == 2 and settings.split == "test"


def test_an_arm_may_have_rounds_of_its_own(tmp_path: Path) -> None:
    text = GOOD + "  long: {rounds: 12}\n  pairs: {pipeline: sft}\n"
    settings = read_study(written(tmp_path, text))
    assert [settings.rounds_of(name) for name in settings.arms] == [2, 2, 12, 1]


def test_parameters_may_be_nested_or_have_dots() -> None:
    params = {"a.b": 1, "a": {"c": 2}, "d.e.f": [3], "r": {"my.module:Class": 1}, "g": {"h": {"i": 4}}, "g.h.j": 5}
    expected = {
        "a": {"b": 1, "c": 2},
        "d": {"e": {"f": [3]}},
        "r": {"my.module:Class": 1},
        "g": {"h": {"i": 4, "j": 5}},
    }
    assert nested(params, "x") == nested(params, "x") == expected  # it changes nothing of what it is given


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1, 2]", "is a list"),
        ("arms: {a: {", "cannot be read"),
        (GOOD + "  naive: {}\n", "cannot be read"),
        (GOOD.replace("rounds: 2\n", ""), "parameter 'rounds' is missing"),
        (GOOD.replace("rounds: 2", "rounds: 0"), "'rounds' is 0"),
        (GOOD.replace("rounds: 2", "rounds: 2.0"), "'rounds' is 2.0"),
        (GOOD.replace("[3, 4]", "[]"), "'seeds'"),
        (GOOD.replace("[3, 4]", "[3, 3]"), "names 3 twice"),
        (GOOD.replace("[3, 4]", "[-1]"), "-1"),
        (GOOD + "workerz: 2\n", "unknown parameter 'workerz'; did you mean 'workers'?"),
        (GOOD + "split: train\n", "'split' is 'train'"),
        (GOOD.replace("naive", "../naive"), "arms"),
        (GOOD + "  METHOD: {}\n", "would share a folder"),
        (GOOD + "compare: [[method, naiv]]\n", "there is no arm 'naiv'; name two of method, naive"),
        (GOOD + "compare: [[method, naive, 3]]\n", "[method, naive, 3]: method has 2 rounds; name a round of both"),
        (GOOD + "compare: [[method, method]]\n", "compares an arm with itself"),
        (GOOD.replace("weighting.enabled: false", "seed: 1"), "arm 'naive' sets seed in its params"),
        (GOOD.replace("weighting.enabled: false", "rounds: 1"), "arm 'naive' sets rounds in its params"),
        (GOOD.replace("weighting.enabled: false", "a.b: 1, a: {b: 2}"), "sets a.b twice"),
        (GOOD.replace("weighting.enabled: false", "a: 1, a.b: 2"), "the whole of a"),
        (GOOD + "  pairs: {pipeline: sft, rounds: 3}\n", "set sft.steps"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(StudyError) as error:
        read_study(written(tmp_path, text))
    assert says in str(error.value) and "mine.yml" in str(error.value)


LABELS = ("accuracy", "diversity", "reward proxy")


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("", ""),
        ("compare: [[sparse, full], [short, full, 1], [pairs, sparse, 2]]", ""),
        ("compare: [[sparse, short]]", "except the base (sparse after rounds 0, 2; short after rounds 0, 1)"),
        ("compare: [[sparse, full, 1]]", "not both are tested after round 1 (sparse after rounds 0, 2; full after ro"),
        (
            "claims: [{says: So., of: [sparse, 1], over: [full, 1]}]",
            "round 1 of sparse, which is tested after rounds 0, 2",
        ),
        (
            "claims: [{says: So., of: [full, 1], over: [sparse, 1]}]",
            "round 1 of sparse, which is tested after rounds 0, 2",
        ),
        ("claims: [{says: So., of: [sparse, 2], over: [pairs, 1]}]", ""),
        (
            "claims: [{says: So., of: [short, 1], over: [full, 0]}]",
            "'accuracy', which short does not measure; name one of",
        ),
        ("claims: [{says: So., of: [short, 1], over: [short, 0], measure: reward proxy}]", ""),
        ("claims: [{says: So., of: [short, 1], over: [short, 0], measure: reward hps}]", "'reward hps', which short"),
    ],
)
def test_what_is_claimed_and_compared_must_be_measured(tmp_path: Path, rest: str, says: str) -> None:
    arms = "arms: {full: {}, sparse: {}, short: {rounds: 1}, pairs: {pipeline: sft}}\n"
    settings = read_study(written(tmp_path, f"rounds: 2\nseeds: [3]\n{arms}{rest}\n"))
    by_arm = {"full": (0, 1, 2), "sparse": (0, 2), "short": (0, 1), "pairs": (0, 1)}
    measured = {arm: Measured(rounds, LABELS[2 * (arm == "short") :]) for arm, rounds in by_arm.items()}
    with pytest.raises(StudyError, match=re.escape(says)) if says else nullcontext():
        settings.check_measured(measured)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path / "none.yml")
