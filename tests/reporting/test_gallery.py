"""What the gallery shows."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.method.settings import SelectionSettings
from rsidiff_kedro.reporting.gallery import gallery, spread_rows
from rsidiff_kedro.reporting.thumbnails import Thumbnails

SELECTION = SelectionSettings(rewards={"proxy": 1.0})


def opened(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.partition("base64,")[2])))


def test_a_row_is_a_pair_of_prompt_and_sample_with_a_cell_per_round(
    images: list[ImageSet], scores: list[pd.DataFrame], prompts: pd.DataFrame
) -> None:
    found = gallery(images, scores, prompts, ["proxy"], SELECTION, ["proxy"])
    assert found["rounds"] == ["base", "round 1", "round 2"]
    assert [(row["prompt"], row["sample"]) for row in found["rows"][:3]] == [("p0", 0), ("p0", 1), ("p1", 0)]
    assert {len(row["cells"]) for row in found["rows"]} == {3}
    assert found["rows"][0]["category"] == "photo"


def test_the_change_of_the_accuracy_is_what_became_right_minus_what_became_wrong(
    images: list[ImageSet], scores: list[pd.DataFrame], prompts: pd.DataFrame
) -> None:
    rows = gallery(images, scores, prompts, ["proxy"], SELECTION, ["proxy"])["rows"]
    changes = [int(row["cells"][2]["right"]) - int(row["cells"][0]["right"]) for row in rows]
    assert sum(changes) / len(rows) == pytest.approx(scores[2]["correct"].mean() - scores[0]["correct"].mean())


def test_a_cell_has_the_rewards_and_the_rank_among_the_prompts_samples(
    images: list[ImageSet], scores: list[pd.DataFrame], prompts: pd.DataFrame
) -> None:
    found = gallery(images, [table.iloc[::-1] for table in scores], prompts, ["proxy"], SELECTION, ["proxy"])
    cells = [row["cells"][0] for row in found["rows"][:2]]
    assert found["rewards"] == ["proxy (selects)"]
    assert [(cell["rewards"], cell["rank"]) for cell in cells] == [([0.0], 2), ([0.1], 1)]


def test_without_a_judge_a_change_is_told_by_a_reward_that_is_held_out(
    images: list[ImageSet], scores: list[pd.DataFrame], prompts: pd.DataFrame
) -> None:
    tables = [table.drop(columns="correct").assign(pick_score=1.0) for table in scores]
    found = gallery(images, tables, prompts, ["proxy", "pick_score"], SELECTION, ["proxy"])
    assert found["measure"] == {"name": "pick_score (held out)", "reward": 1}
    assert {cell["right"] for row in found["rows"] for cell in row["cells"]} == {None}
    floors = ["proxy", "pick_score"]
    assert gallery(images, tables, prompts, ["pick_score"], SELECTION, floors)["rewards"] == ["pick_score (selects)"]
    assert gallery(images, scores, prompts, ["proxy"], SELECTION, ["proxy"])["measure"]["name"] == "the judge"


def test_seeds_are_texts_because_pages_round_large_numbers(
    images: list[ImageSet], scores: list[pd.DataFrame], prompts: pd.DataFrame
) -> None:
    large = 2**62 + 1
    images[0].metadata["seed"] = large
    assert gallery(images, scores, prompts, ["proxy"], SELECTION, ["proxy"])["rows"][0]["seed"] == str(large)


def test_of_too_many_images_prompts_are_spread_over_the_test_set(
    images: list[ImageSet], scores: list[pd.DataFrame], prompts: pd.DataFrame
) -> None:
    rows = gallery(images, scores, prompts, ["proxy"], SELECTION, ["proxy"], most_images=18)["rows"]
    assert [row["prompt"] for row in rows] == ["p0", "p0", "p4", "p4", "p9", "p9"]


def test_rounds_of_other_prompts_are_refused(
    images: list[ImageSet], scores: list[pd.DataFrame], prompts: pd.DataFrame
) -> None:
    with pytest.raises(ValueError, match="round 1 has no image of the prompt p0"):
        gallery([images[0], images[1].select(range(2, 20))], scores[:2], prompts, ["proxy"], SELECTION, ["proxy"])


def test_rows_are_spread_over_the_prompts_at_their_first_sample(images: list[ImageSet]) -> None:
    chosen = images[0].metadata.iloc[spread_rows(images[0].metadata.iloc[::-1], 3)]
    assert len(chosen) == 3
    backwards = images[0].metadata.iloc[::-1].reset_index(drop=True)
    assert set(backwards.iloc[spread_rows(backwards, 3)]["sample_index"]) == {0}


def test_a_tiny_image_keeps_every_pixel_and_is_shown_larger() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 24, 3), np.uint8))
    found = Thumbnails.of([image], 10)
    assert found.size() == {"width": 72, "height": 96, "tiny": True}
    assert np.array_equal(np.asarray(opened(found.source(image)).convert("RGB")), np.asarray(image))


@pytest.mark.parametrize(("count", "side"), [(2_000, 192), (10_000, 128)])
def test_a_large_image_is_reduced_more_where_a_page_has_many(count: int, side: int) -> None:
    image = Image.new("RGB", (512, 256))
    found = Thumbnails.of([image], count)
    assert opened(found.source(image)).size == (found.width, found.height) == (side, side // 2)
