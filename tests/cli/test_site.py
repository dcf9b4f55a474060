"""`kedro rsi site`: a page of files that any web server shows, with previews and the report, in a browser."""

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import Result
from playwright.sync_api import Browser, Page, expect

from rsidiff_kedro.cli.viz import write_site
from rsidiff_kedro.core.errors import InputError

SCREEN = {"width": 1400, "height": 900}


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site") / "build"


@pytest.fixture
def site(folder: Path, rsi: Callable[..., Result]) -> Path:
    """The page of the finished run, built once."""
    if not folder.exists():
        done = rsi("site", folder, "--env=test")
        assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def page(browser: Browser, site: Path) -> Iterator[Page]:
    """A browser at the plain address of a plain server of the files; errors of the page fail the test."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    errors: list[str] = []
    opened = browser.new_page(viewport=SCREEN)
    opened.set_default_timeout(120_000)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.route("https://**", lambda route: route.abort())  # fonts
    opened.goto(f"http://127.0.0.1:{server.server_port}/")
    yield opened
    opened.close()
    server.shutdown()
    assert errors == []


def boxes(page: Page) -> dict[str, dict[str, float]]:
    """The boxes of the graph by name, with their places on the screen."""
    expect(page.locator(".pipeline-node").first).to_be_visible()
    page.wait_for_timeout(2000)  # the graph moves to its place
    return {box.get_attribute("data-id"): box.bounding_box() for box in page.locator(".pipeline-node").all()}


def test_the_first_view_fits_one_screen_and_reads_curation_rounds_report(page: Page) -> None:
    found = boxes(page)
    assert sorted(found, key=lambda name: found[name]["y"]) == ["prompt_curation", "rsi", "report"]
    for box in found.values():
        assert box["height"] > 30
        assert box["x"] >= 0 and box["x"] + box["width"] <= SCREEN["width"]
        assert box["y"] >= 0 and box["y"] + box["height"] <= SCREEN["height"]
    page.locator("a[href='report.html']").click()
    expect(page.locator("h1").first).to_be_visible()
    assert page.url.endswith("/report.html")


def test_a_strategy_and_an_adapter_show_their_pictures(page: Page, site: Path) -> None:
    nodes = json.loads((site / "api" / "main").read_text(encoding="utf-8"))["nodes"]
    ids = {each.get("full_name") or each["name"]: each["id"] for each in nodes}
    address = page.url.partition("?")[0]
    for name in ("rsi.round_1.weighting.weigh_samples", "rsi.round_1.adapter"):
        page.goto(f"{address}?types=nodes&sid={ids[name]}")
        picture = page.locator("img[src^='data:image/png;base64,']").first
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 100


def test_the_page_names_no_place_of_this_machine(site: Path, finished_project: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    texts = [path.read_text(encoding="utf-8") for path in (site / "api").rglob("*") if path.is_file()]
    assert len(texts) > 50
    assert not [text for text in texts if str(finished_project) in text or str(source) in text]


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="holds something else"):
        write_site(tmp_path, tmp_path, None, {}, None)
    assert (tmp_path / "mine.txt").exists()
