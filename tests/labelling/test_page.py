"""The page of votes in a browser: arrow keys, undo, reload, errors, accessibility."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.votes import read_votes
from rsidiff_kedro.labelling.pairs import Pair, choose_pairs
from rsidiff_kedro.labelling.server import LabelServer
from rsidiff_kedro.labelling.session import Session, Source

HOSTILE = "<script>alert('x')</script> & a \"red\" circle"


@pytest.fixture
def pairs(scenes_on_disk: ImageSet) -> list[Pair]:
    found = choose_pairs(scenes_on_disk, 0, 1)[:4]
    return [found[0], Pair("p", HOSTILE, found[1].ids, found[1].paths), *found[2:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "1" / "votes"


@pytest.fixture
def server(pairs: list[Pair], folder: Path) -> Iterator[LabelServer]:
    opened = LabelServer(Session(pairs, Source("run", 1), folder))
    threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield opened
    opened.shutdown()
    opened.server_close()


@pytest.fixture
def page(browser: Browser, server: LabelServer) -> Iterator[Page]:
    """The page with its first pair; messages of the browser's console fail the test."""
    context, said = browser.new_context(viewport={"width": 900, "height": 700}), []
    opened = context.new_page()
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("console", lambda message: said.append(message.text))
    opened.goto(server.address)
    shows(opened, 0)
    yield opened
    context.close()
    assert [line for line in said if "Failed to load resource" not in line] == []  # some tests provoke these


def shows(page: Page, votes: int, number: int | None = None) -> None:
    expect(page.locator("#progress")).to_have_text(
        f"votes: {votes}; pair {(votes if number is None else number) + 1} of 4"
    )
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


def press(page: Page, key: str, votes: int) -> None:
    page.keyboard.press(key)
    shows(page, votes)


def test_arrow_keys_vote_and_the_last_vote_is_taken_back(page: Page, pairs: list[Pair], folder: Path) -> None:
    expect(page.locator("h1")).to_have_text(pairs[0].text)
    press(page, "ArrowLeft", 1)
    press(page, "ArrowRight", 2)
    press(page, "ArrowDown", 3)
    assert read_votes(folder).table["winner"].tolist() == ["left", "right", "tie"]
    press(page, "ArrowUp", 2)
    expect(page.locator("h1")).to_have_text(pairs[2].text)
    assert read_votes(folder).table["winner"].tolist() == ["left", "right"]


def test_the_images_are_those_of_the_pair_and_a_tiny_one_shows_its_pixels(page: Page, pairs: list[Pair]) -> None:
    fetched = page.evaluate(
        "Promise.all([...document.images].map(async (image) => [...new Uint8Array("
        "await (await fetch(image.src)).arrayBuffer())]))"
    )
    assert [bytes(each) for each in fetched] == [path.read_bytes() for path in pairs[0].paths]
    assert page.locator("img.tiny").count() == 2
    assert page.evaluate("[...document.images].every((image) => image.naturalWidth === 32 && image.width > 300)")


def test_a_reload_continues_and_a_prompt_is_shown_as_text(page: Page) -> None:
    press(page, "ArrowLeft", 1)
    page.reload()
    shows(page, 1)
    expect(page.locator("h1")).to_have_text(HOSTILE)


def test_a_second_tab_cannot_vote_twice_on_a_pair(page: Page, server: LabelServer, folder: Path) -> None:
    other = page.context.new_page()
    other.goto(server.address)
    shows(other, 0)
    press(page, "ArrowLeft", 1)
    press(other, "ArrowRight", 1)  # shows the next pair
    assert read_votes(folder).table["winner"].tolist() == ["left"]


def test_the_mouse_votes_and_the_button_ends_the_session(page: Page, server: LabelServer, folder: Path) -> None:
    page.locator("#right").click()
    shows(page, 1)
    page.locator("#finish").click()
    expect(page.locator("h1")).to_contain_text("Finished.")
    assert server.finished.wait(5)
    assert read_votes(folder).table["winner"].tolist() == ["right"]


def test_after_the_last_pair_the_page_says_so_and_can_go_back(page: Page) -> None:
    for votes in range(1, 4):
        press(page, "ArrowLeft", votes)
    page.keyboard.press("ArrowLeft")
    shows(page, 4, 3)
    expect(page.locator("h1")).to_have_text("All pairs of this round have a vote.")
    expect(page.locator("#pair")).to_be_hidden()
    press(page, "ArrowUp", 3)
    expect(page.locator("#pair")).to_be_visible()


def test_an_error_is_shown_and_the_pair_stays(page: Page, folder: Path) -> None:
    press(page, "ArrowLeft", 1)
    (folder / "votes.parquet").unlink()
    (folder / "votes.parquet" / "x").mkdir(parents=True)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("alert")).to_contain_text("the vote was not kept")
    shows(page, 1)


def test_a_server_that_is_gone_is_said(page: Page, server: LabelServer) -> None:
    server.shutdown()
    server.server_close()
    page.context.set_offline(True)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("alert")).to_contain_text("Start `kedro rsi label` again; all votes are kept.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, server: LabelServer, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(server.address)
    shows(page, 0)
    found = Axe().run(page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    context.close()
