"""A study's tables keep what was measured, and its page says what differs."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.study.claims import NOT_MEASURED, judge
from rsidiff_kedro.study.comparisons import changes, gap_by_round, gaps, measures_of
from rsidiff_kedro.study.page import write_page
from rsidiff_kedro.study.settings import Claim, Pairing, StudySettings
from rsidiff_kedro.study.tables import Tables, joined, load_tables, round_tables

SEEDS = (3, 4)
PROMPTS = 40


def scores(right: float, seed: int, judged: bool = True) -> pd.DataFrame:
    """Two samples of each prompt, of which a share is right; the same prompts in each arm of a seed."""
    rng = np.random.default_rng(seed)
    luck = np.repeat(rng.uniform(size=PROMPTS), 2)
    table = pd.DataFrame({"prompt_id": np.repeat([f"{seed}-{n}" for n in range(PROMPTS)], 2)})
    table = table.assign(sample_index=[0, 1] * PROMPTS, proxy=luck + right)
    if judged:
        correct = luck < right
        table = table.assign(correct=correct, attribute_accuracy=1.0, hallucinations=2 * ~correct)
        table["left_open"] = ['{"size": "small"}', '{"size": "large"}'] * PROMPTS
    return table


def measured(judged: bool = True, arms: tuple[str, ...] = ("naive", "method")) -> Tables:
    """The naive arm stays at .5, the method goes from .5 to .8 in two rounds."""
    parts = [
        round_tables(arm, seed, number, scores(right, seed, judged), ["proxy"], {"test/diversity": 1.0, "none": None})
        for arm in arms
        for seed in SEEDS
        for number, right in enumerate((0.5, 0.65, 0.8) if arm == "method" else (0.5, 0.5))
    ]
    return joined(parts)


@pytest.fixture
def settings() -> StudySettings:
    return StudySettings.model_validate(
        {
            "rounds": 2,
            "seeds": SEEDS,
            "arms": {"naive": {"params": {"a|b": 1}}, "method": {}, "pairs": {"pipeline": "sft"}},
            "compare": [["method", "naive"]],
        }
    )


def test_tables_come_back_from_disk(tmp_path: Path) -> None:
    tables = measured()
    tables.save(tmp_path)
    again = load_tables(tmp_path)
    for name, table in vars(tables).items():
        pd.testing.assert_frame_equal(getattr(again, name), table, check_dtype=False)
    assert again.rewards == ["proxy"]


def test_missing_tables_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without --only-page"):
        load_tables(tmp_path / "none")


def test_an_image_that_no_judge_could_read_counts_nowhere() -> None:
    table = scores(0.5, 3)
    table["correct"] = table["correct"].astype("boolean").mask(table.index == 0)
    images = round_tables("a", 3, 0, table, [], {}).images
    assert images["correct"].isna().sum() == images["hallucinated"].isna().sum() == 1


def test_accuracy_comes_first_where_there_is_a_judge() -> None:
    labels = [measure.label for measure in measures_of(measured(), "test")]
    assert labels == ["accuracy", "hallucination rate", "diversity", "reward proxy"]


def test_without_a_judge_rewards_come_first_and_diversity_is_each_run_s() -> None:
    found = measures_of(measured(judged=False), "test")
    assert [measure.label for measure in found] == ["reward proxy", "diversity"]
    assert changes(found[1], ["method"], measured(judged=False))[0].change[:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("pair", "after"), [(Pairing("method", "naive"), 1), (Pairing("method", "naive", 1), 1)])
def test_arms_are_compared_after_the_last_round_of_both(pair: Pairing, after: int) -> None:
    tables = measured()
    (found,) = gaps(measures_of(tables, "test")[0], [pair], tables)
    images = tables.images.astype({"correct": float}).groupby(["arm", "round"])["correct"].mean()
    assert found.pair.after == after
    assert found.gap.value == pytest.approx(images["method", after] - images["naive", 1])
    assert found.gap.low > 0 and found.p < 0.01
    assert (found.gap.seeds, found.gap.prompts, found.gap.left_out) == (2, 2 * PROMPTS, 0)


def test_arms_that_share_no_round_but_the_base_are_not_compared(tmp_path: Path, settings: StudySettings) -> None:
    tables = measured()
    rows = (tables.images["arm"] == "method") & (tables.images["round"] == 1)
    tables = Tables(tables.images[~rows], tables.prompts, tables.metrics)
    for pair in (Pairing("method", "naive"), Pairing("naive", "method")):
        (found,) = gaps(measures_of(tables, "test")[0], [pair], tables)
        assert found.pair.after is None and math.isnan(found.gap.value) and math.isnan(found.p)
    write_page(tmp_path / "results.md", "mine", settings, tables)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    wanted = "| method minus naive |  | accuracy | not measured: no trained round was tested in both |  | 0, 0 |"
    assert wanted in text and "The same by round" not in text


def apart(tables: Tables, shared: int) -> Tables:
    """Rename and raise all but so many of the prompts of each seed in the method's arm."""

    def renamed(table: pd.DataFrame) -> pd.DataFrame:
        own = (table["arm"] == "method") & (table["prompt_id"].str.split("-").str[1].astype(int) >= shared)
        raised = {name: table[name].where(~own, 9.0) for name in ("proxy", "diversity") if name in table}
        return table.assign(prompt_id=table["prompt_id"].where(~own, "own " + table["prompt_id"]), **raised)

    return Tables(
        renamed(tables.images), renamed(tables.prompts) if len(tables.prompts) else tables.prompts, tables.metrics
    )


def without_own(tables: Tables, shared: int) -> Tables:
    """Keep so many prompts of each seed."""
    kept = [
        table[table["prompt_id"].str.split("-").str[1].astype(int) < shared]
        for table in (tables.images, tables.prompts)
    ]
    return Tables(*kept, tables.metrics)


@pytest.mark.parametrize("judged", [True, False])
@pytest.mark.parametrize("shared", [PROMPTS, 10, 0])
def test_arms_are_compared_on_the_prompts_that_both_were_tested_on(judged: bool, shared: int) -> None:
    tables, pair = measured(judged), Pairing("method", "naive", 1)
    measures, kept = measures_of(apart(tables, shared), "test"), without_own(tables, shared)
    for measure in measures:
        (found,) = gaps(measure, [pair], apart(tables, shared))
        (claim,) = judge([Claim(says="So.", of=("method", 1), over=("naive", 1), measure=measure.label)], measures)
        assert found.gap == claim.found == gap_by_round(measure, pair, apart(tables, shared))[1]
        if shared and (judged or measure.label != "diversity"):
            same = {each.label: each for each in measures_of(kept, "test")}[measure.label]
            assert found.gap[:4] == gaps(same, [pair], kept)[0].gap[:4]
            assert found.gap.left_out == 2 * 2 * (PROMPTS - shared)
        else:  # a run's mean is of all its prompts
            assert (found.gap.value == 1.0) if shared == PROMPTS else (claim.verdict == NOT_MEASURED)
            assert math.isnan(found.gap.value) == (shared < PROMPTS)


@pytest.mark.parametrize(("shared", "gap"), [(10, "+0.200 ["), (0, "not measured on prompts that both share |")])
def test_the_page_tells_of_prompts_that_not_all_share(tmp_path: Path, settings, shared: int, gap: str) -> None:
    write_page(tmp_path / "results.md", "mine", settings, apart(measured(), shared))
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.count(f"| method minus naive | {gap}") == 1 and f"| method minus naive | 1 | accuracy | {gap}" in text
    counted = f"(over all seeds: naive 80, method 80, shared by all {2 * shared})"
    assert counted in text and "up to 40 test prompts" in text
    assert ("], 120 prompts without a partner left out |" in text) == (shared == 10)


def test_p_values_are_corrected_for_the_number_of_pairs() -> None:
    tables = measured()
    accuracy = measures_of(tables, "test")[0]
    one, three = (gaps(accuracy, [Pairing("method", "naive")] * count, tables) for count in (1, 3))
    assert three[0].p == pytest.approx(3 * one[0].p)


def test_an_arm_without_rounds_is_compared_with_each_round_of_the_other() -> None:
    tables = measured()
    accuracy, pair = measures_of(tables, "test")[0], Pairing("method", "naive")
    assert [*gap_by_round(accuracy, pair, tables)] == [1]
    by_round = gap_by_round(accuracy, pair, tables, {"naive"})
    assert [*by_round] == [1, 2] and by_round[2].value > by_round[1].value > 0
    assert gaps(accuracy, [pair], tables, {"naive"})[0].gap == by_round[2]


def test_the_page_has_the_tables_its_figure_and_what_is_missing(tmp_path: Path, settings: StudySettings) -> None:
    page, again = tmp_path / "results.md", tmp_path / "again" / "results.md"
    write_page(page, "mine", settings, measured())
    text = page.read_text()
    assert "| method | accuracy | +0." in text and "| method minus naive | 1 | accuracy | +0." in text
    assert "\n\nThe same by round: accuracy.\n\n| arms | 1 |\n" in text
    assert "did not come to their end: pairs seed 3, pairs seed 4." in text
    assert "; 40 test prompts, 80 images per run" in text and "own prompts" not in text and "left out" not in text
    assert "`a&#124;b=1`" in text and "![accuracy, hallucination rate" in text
    with Image.open(page.with_suffix(".png")) as image:
        assert image.width > 1000

    write_page(again, "mine", settings, measured())
    for suffix in (".md", ".png"):
        assert again.with_suffix(suffix).read_bytes() == page.with_suffix(suffix).read_bytes()


@pytest.mark.parametrize("folder", ["/home/acme, Inc. (1)/", "../acme's/", "$HOME/acme/", "C:\\acme\\"])
def test_the_page_tells_neither_folders_nor_credentials(tmp_path: Path, folder: str) -> None:
    token = "hf_abcdefghijklmnopqrstuvwx"
    params = {"rewards.hpsv2.checkpoint": f"{folder}HPS.pt", "model": {"parts": [f"{folder}x y", "owner/name"]}}
    settings = StudySettings.model_validate(
        {
            "rounds": 2,
            "seeds": SEEDS,
            "about": f'Run with {token} by http://me:secret@host/v1 from "{folder}study.yml".',
            "arms": {"naive": {"params": params}, "method": {"params": {"note": f"{token} at https://host/a/b"}}},
        }
    )
    write_page(tmp_path / "results.md", "mine", settings, measured())
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "acme" not in text and token not in text and "secret" not in text
    assert 'Run with *** by http://***@host/v1 from "study.yml".' in text
    assert '`rewards.hpsv2.checkpoint="HPS.pt"`' in text and '{"parts": ["x y", "owner/name"]}`' in text
    assert '`note="*** at https://host/a/b"`' in text


def test_tables_of_another_study_are_refused(tmp_path: Path, settings: StudySettings) -> None:
    with pytest.raises(InputError, match="hold no run of the arms naive, method, pairs"):
        write_page(tmp_path / "results.md", "mine", settings, measured(arms=("other",)))
