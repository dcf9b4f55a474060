"""The report in a browser, opened as a file: filters, samples, colors, sizes, accessibility."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.method.settings import SelectionSettings
from rsidiff_kedro.reporting.gallery import gallery
from rsidiff_kedro.reporting.report import Contents, report_html

WIDE, NARROW = (1280, 900), (400, 800)
Show = Callable[..., Page]


@pytest.fixture(scope="module")
def kept() -> dict[str, str]:
    """The report of `contents`, once it was made: each test has the same."""
    return {}


@pytest.fixture
def show(browser: Browser, contents: Contents, kept: dict[str, str], tmp_path: Path) -> Iterator[Show]:
    """`show(size, scheme, contents)`: a page of the report; errors of its script fail the test."""
    errors: list[str] = []
    contexts = []

    def opened(size: tuple[int, int] = WIDE, scheme: str = "light", shown: Contents = contents) -> Page:
        path = tmp_path / "report.html"
        if shown is contents and not kept:
            kept["report"] = report_html(contents)
        path.write_text(kept["report"] if shown is contents else report_html(shown), encoding="utf-8")
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def rows(page: Page) -> int:
    return page.locator("#rows tbody tr").count()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_axe_finds_nothing_serious(show: Show, size: tuple[int, int], scheme: str) -> None:
    page = show(size, scheme)
    for dialog in (False, True):
        if dialog:
            page.locator("#rows .open").first.click()
        found = Axe().run(page).response["violations"]
        assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_prompts_without_a_category_are_shown_by_themselves(show: Show, contents: Contents) -> None:
    few = [{**row, "category": "animals" if number else ""} for number, row in enumerate(contents.gallery["rows"][:4])]
    page = show(shown=replace(contents, gallery={**contents.gallery, "rows": few}))
    found = {}
    for label in ("all", "none", "animals"):
        page.locator("select[name=category]").select_option(label=label)
        found[label] = rows(page)
    assert found == {"all": 4, "none": 1, "animals": 3}


def test_the_keyboard_alone_filters_by_change_and_by_category(show: Show) -> None:
    page = show()
    assert rows(page) == 20
    page.locator("input[value=all]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("input[value=rose]")).to_be_checked()
    expect(page.locator("#shown")).to_contain_text("12 of 12 rows")
    assert "wrong" in page.locator("#rows tbody tr").first.locator("td").first.locator(".verdict").get_attribute(
        "class"
    )
    page.locator("select[name=category]").focus()
    page.keyboard.press("ArrowDown")
    assert 0 < rows(page) < 12


def test_counts_say_how_many_became_right_and_wrong_and_stayed(show: Show) -> None:
    labels = show().locator("#changes label").all_inner_texts()
    assert [label.strip() for label in labels] == [
        "all (20)",
        "became right (12)",
        "became wrong (0)",
        "unchanged (8)",
    ]


def test_the_base_is_compared_with_any_round(show: Show) -> None:
    page = show()
    page.locator("select[name=other]").select_option(label="base and round 1")
    assert page.locator("#rows thead th").all_inner_texts() == ["prompt", "base", "round 1"]
    assert "became right (6)" in page.locator("#changes").inner_text()


def test_a_prompt_opens_all_its_samples_with_score_rank_and_verdict(show: Show) -> None:
    page = show()
    page.locator("#rows .open").first.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#samples")
    expect(dialog).to_be_visible()
    assert "<script>alert('x')</script>" in dialog.locator("h2").inner_text()  # as text
    assert dialog.locator("img").count() == 3 * 2
    text = dialog.inner_text()
    assert "judge: right" in text and "proxy (selects): 0.1" in text and "rank 1 of 2" in text
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_a_training_prompt_opens_its_samples_with_rank_and_weight(show: Show) -> None:
    page = show()
    page.locator("#training-round").select_option("0")
    page.locator("#trained .open").first.click()
    text = page.locator("#samples").inner_text()
    assert "rank 1" in text and "weight 0.1" in text and "dropped: rank" in text
    assert page.locator("#lowest img").count() == page.locator("#highest img").count() == 5


def test_without_a_judge_changes_are_told_by_a_reward(show: Show, contents: Contents) -> None:
    cells = [cell | {"right": None} for row in contents.gallery["rows"] for cell in row["cells"]]
    unjudged = [row | {"cells": cells[3 * n : 3 * n + 3]} for n, row in enumerate(contents.gallery["rows"])]
    measure = {"name": "proxy (selects)", "reward": 0}
    page = show(shown=replace(contents, gallery={**contents.gallery, "rows": unjudged, "measure": measure}))
    assert "rose (20)" in page.locator("#changes").inner_text()
    assert page.locator("#rows .verdict").count() == 0


@pytest.mark.parametrize("size", [WIDE, NARROW])
def test_header_and_first_column_stay_when_a_table_scrolls(show: Show, size: tuple[int, int]) -> None:
    page = show(size)
    box = page.locator("[aria-label=Gallery]")
    before = [box.locator(f"thead th >> nth={n}").bounding_box() for n in (0, 1)]
    box.evaluate("box => { box.scrollTop = 300; box.scrollLeft = 40 }")
    after = [box.locator(f"thead th >> nth={n}").bounding_box() for n in (0, 1)]
    assert box.evaluate("box => box.scrollTop") == 300
    assert after[0] == before[0]
    assert after[1]["y"] == before[1]["y"]
    first = box.locator("tbody tr >> nth=8").locator("th").bounding_box()
    assert first["x"] == before[0]["x"]


def test_dark_mode_follows_the_system_and_a_button(show: Show) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = show(WIDE, "light"), show(WIDE, "dark")
    colors = [page.evaluate(background) for page in (light, dark)]
    assert colors[0] != colors[1]
    light.locator("#theme").click()
    assert light.evaluate(background) == colors[1]
    ink = "document.querySelector('#figure-0 .xtick text').style.fill"
    assert light.evaluate(ink) == dark.evaluate(ink)


def test_nothing_overlaps_or_overflows_at_400_pixels(show: Show) -> None:
    page = show(NARROW)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
    overlaps = page.evaluate(
        """() => {
          const blocks = [...document.querySelectorAll(
            'h1, #theme, body > p, nav, pre, main h2, main h3, main p, figure, .controls > *, .scroll, .cards, .steps, '
              + 'footer')]
            .filter((block) => block.getClientRects().length && !block.closest('dialog, .scroll > *'));
          const hit = [];
          blocks.forEach((one, index) => blocks.slice(index + 1).forEach((other) => {
            if (one.contains(other) || other.contains(one)) return;
            const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
            const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
            const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
            if (wide > 1 && high > 1) hit.push(`${one.outerHTML.slice(0, 60)} and ${other.outerHTML.slice(0, 60)}`);
          }));
          return hit;
        }"""
    )
    assert overlaps == []


def test_every_image_has_its_size(show: Show) -> None:
    page = show()
    assert page.locator("img").count() > 20
    assert page.locator("img:not([width][height])").count() == 0
    assert page.evaluate("[...document.images].every((image) => image.width === 96 && image.height === 96)")


def test_ten_thousand_images_are_shown_page_by_page(show: Show, contents: Contents) -> None:
    prompts = [f"p{number:04d}" for number in range(2500)]
    table = pd.DataFrame({"prompt_id": np.repeat(prompts, 2), "sample_index": [0, 1] * 2500})
    table = table.assign(text="a red circle", seed=1, image_id=table.index.astype(str), proxy=table.index % 7 / 7)
    scores = [table.assign(correct=table.index % 5 < 2 + number) for number in (0, 1)]
    missing = ["file_name", "guidance_scale", "num_inference_steps", "checkpoint"]
    images = ImageSet(table.assign(**dict.fromkeys(missing, "")), [Image.new("RGB", (8, 8), "red")] * len(table))
    categories = pd.DataFrame({"prompt_id": prompts, "category": ["a", "b"] * 1250})
    found = gallery(
        [images, images], scores, categories, ["proxy"], SelectionSettings(rewards={"proxy": 1.0}), ["proxy"]
    )
    assert sum(len(row["cells"]) for row in found["rows"]) == 10_000
    page = show(shown=replace(contents, gallery=found))
    expect(page.locator("#shown")).to_contain_text("25 of 5000 rows")
    page.locator("input[value=rose]").check()
    expect(page.locator("#shown")).to_contain_text("25 of 1000 rows")
    page.locator("#more").click()
    expect(page.locator("#shown")).to_contain_text("50 of 1000 rows")
    assert rows(page) == 50
