"""Sheets and texts of what the strategies did."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.reporting.contact_sheet import contact_sheet
from rsidiff_kedro.reporting.effects import COLUMNS, curation_text, selection_sheet, weights_sheet
from rsidiff_kedro.reporting.thumbnails import Thumbnails

RED, BLUE = ([255, 0, 0], [0, 0, 255])


def sample(color: list[int], rank: int = 1, reason: str = "", weight: float = 1.0) -> dict[str, object]:
    image = Image.new("RGB", (32, 32), tuple(color))
    source = Thumbnails.of([image], 1).source(image)
    return {"src": source, "text": "a red circle", "rank": rank, "reason": reason, "weight": weight}


def colors(sheet: Image.Image) -> set[tuple[int, ...]]:
    """The colors of more than a thousand pixels."""
    values, counts = np.unique(np.asarray(sheet).reshape(-1, 3), axis=0, return_counts=True)
    return {tuple(map(int, value)) for value, count in zip(values, counts) if count > 1000}


def test_what_selection_dropped_is_faded() -> None:
    sheet = selection_sheet({"prompts": [[sample(RED), sample(BLUE, 2, "gap")]]})
    found = colors(sheet) - {(255, 255, 255)}
    assert (255, 0, 0) in found
    assert (0, 0, 255) not in found and len(found) == 2


def test_each_prompt_has_half_a_row() -> None:
    rows = [[sample(RED)] * 6, [sample(BLUE)], [sample(RED)] * 2]
    square = [Image.new("RGB", (32, 32))] * COLUMNS * 4
    assert selection_sheet({"prompts": rows}).size == contact_sheet(square, 2 * COLUMNS, 4, [""] * COLUMNS * 4).size


def test_lowest_and_highest_weights_are_on_one_sheet() -> None:
    sheet = weights_sheet({"lowest": [sample(RED, weight=0.0)], "highest": [sample(BLUE, weight=2.0)]})
    assert {(255, 0, 0), (0, 0, 255)} <= colors(sheet)


@pytest.mark.parametrize("make", [selection_sheet, weights_sheet])
def test_without_samples_a_sheet_is_empty(make) -> None:
    assert colors(make({"prompts": [], "lowest": [], "highest": []})) == {(255, 255, 255)}


def test_curation_names_what_was_kept_and_what_each_rule_dropped() -> None:
    kept = pd.DataFrame({"text": [f"prompt {number:02d}" for number in range(20)]})
    dropped = pd.DataFrame({"text": ["too hard\x1b[31m", "too easy", "odd"], "rule": ["hopeless", "solved", "my_rule"]})
    lines = curation_text(kept, dropped).splitlines()
    assert lines[0] == "Kept 20 of 23 prompts"
    assert {"Dropped 1: lowest rewards of the probe", "Dropped 1: my rule"} < {*lines[1:4]}
    assert "  and 8 more" in lines and "  too easy" in lines
    assert not any("\x1b" in line for line in lines)
