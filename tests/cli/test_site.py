"""`kedro rsi site`: a page of files that any web server shows, with previews and the report, in a browser."""

import errno
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import Result
from kedro_datasets.pandas import ParquetDataset
from kedro_viz.integrations.deployment.base_deployer import BaseDeployer
from playwright.sync_api import Browser, Page, expect

from rsidiff_kedro.cli import viz
from rsidiff_kedro.cli.viz import write_site
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.prompts.sources.hub import HubSource

SCREEN = {"width": 1400, "height": 900}


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site") / "build"


@pytest.fixture
def site(folder: Path, finished_project: Path, rsi: Callable[..., Result]) -> Path:
    """The page of the finished run, built once, after a run of another environment."""
    if not folder.exists():
        kept = finished_project / ".viz"
        kept.mkdir(exist_ok=True)
        (kept / "stats.json").write_text('{"prompt_pool": {"rows": 987654321}}', encoding="utf-8")
        (kept / "styles.json").write_text('{"prompt_pool": {"fill": "#123456"}}', encoding="utf-8")
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


def test_no_dataset_shows_rows_or_sizes_of_another_run(site: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (site / "api").rglob("*") if path.is_file()]
    assert not [text for text in texts if "987654321" in text]
    assert [text for text in texts if "#123456" in text]  # the styles that a user keeps beside them stay
    for each in (site / "api" / "nodes").iterdir():
        assert not json.loads(each.read_text(encoding="utf-8")).get("stats")


SECRET = "/home/secret place/x.csv"


def test_what_lies_elsewhere_is_shown_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    parameters = {"path": SECRET, "model": {"options": [SECRET, f"{tmp_path}/y.csv", "owner/name"]}, "rate": 0.5}
    node = {"parameters": parameters, "filepath": SECRET, "code": "a / b  # /etc/hosts"}
    (tmp_path / "api" / "node").write_text(json.dumps({"nodes": [node]}), encoding="utf-8")
    viz._remove_places(tmp_path / "api", [tmp_path])
    (shown,) = json.loads((tmp_path / "api" / "node").read_text(encoding="utf-8"))["nodes"]
    options = ["x.csv", "y.csv", "owner/name"]
    assert shown["parameters"] == {"path": "x.csv", "model": {"options": options}, "rate": 0.5}
    assert shown["filepath"] == "x.csv" and shown["code"] == node["code"]


def test_a_table_of_prompts_does_not_tell_the_folder_that_they_came_from(tmp_path: Path) -> None:
    prompts = tmp_path / "secret place" / "captions" / "train.csv"
    prompts.parent.mkdir(parents=True)
    prompts.write_text("text,kind\n/imagine a cat/dog,/home/secret/pets\na cat,animals/pets\n", encoding="utf-8")
    table = HubSource(dataset=str(prompts.parent), category_column="kind").collect(0)
    saved = ParquetDataset(filepath=str(tmp_path / "prompts.parquet"))
    saved.save(table.assign(detail=f"as in {SECRET}"))
    node = {"preview": saved.preview(), "preview_type": "TablePreview"}
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "missing").write_text(json.dumps(node | {"preview": None}), encoding="utf-8")
    (tmp_path / "api" / "node").write_text(json.dumps(node), encoding="utf-8")
    viz._remove_places(tmp_path / "api", [tmp_path / "elsewhere"])
    text = (tmp_path / "api" / "node").read_text(encoding="utf-8")
    shown = pd.DataFrame(**json.loads(text)["preview"])
    assert "secret" not in text and {*shown["source"]} == {"captions"} and {*shown["detail"]} == {"as in x.csv"}
    assert [*shown["text"]] == ["/imagine a cat/dog", "a cat"] and [*shown["category"]] == ["pets", "animals/pets"]
    unchanged = [name for name in table if name not in ("source", "category")]
    assert shown[unchanged].to_dict() == table[unchanged].to_dict()


def test_the_copy_of_the_report_tells_no_place(finished_project: Path) -> None:
    (made,) = finished_project.glob("data/test/08_reporting/report.html/*/report.html")
    page = made.read_text(encoding="utf-8")
    assert viz._placeless_page(page) == page  # with its scripts
    command = escape(f"kedro run '--params=a.b={SECRET},c=1'")
    footer = (
        f"<footer><code>{command}</code><dd>a.b = {SECRET} (was ~/secret/y)</dd><dd><code>/mnt/secret/z</code></dd>"
    )
    copy = viz._placeless_page(page.replace("<footer>", footer, 1))
    assert "secret" not in copy
    assert viz._placeless_page("<td>12</td>/40<b>/imagine a cat</b>") == "<td>12</td>/40<b>/imagine a cat</b>"
    assert (
        "<code>kedro run &#x27;--params=a.b=x.csv,c=1&#x27;</code><dd>a.b = x.csv" in copy and "<code>z</code>" in copy
    )


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="holds something else"):
        write_site(tmp_path, tmp_path, None, {}, None)
    assert (tmp_path / "mine.txt").exists()


PAGE = {viz.MARK: "{}", "index.html": "", "api/main": "{}", "assets/index-1.js": "", "report.html": ""}
OWN = {
    "CNAME": "my.org",
    ".nojekyll": "",
    "notes/a.txt": "a",
    ".git/HEAD": "ref",
    "api/mine": "b",
    "assets/mine.png": "c",
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """`write(files)`: a page of these files into a folder; returns the contents of all that is there afterwards."""
    monkeypatch.setattr("kedro_viz.server.load_and_populate_data", lambda *_, **options: None)

    def write(files: dict[str, str], full_after: int | None = None) -> dict[str, str]:
        def deploy(deployer: Any, **_: object) -> None:
            folder = deployer._path
            for number, (name, text) in enumerate(files.items()):
                if number == full_after:
                    raise OSError(errno.ENOSPC, "No space left on device")
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")

        monkeypatch.setattr(BaseDeployer, "deploy", deploy)
        monkeypatch.setattr(viz, "index_page", lambda report: files.get("index.html", ""))
        with nullcontext() if full_after is None else pytest.raises(OSError):
            write_site(tmp_path / "page", tmp_path, None, {}, None)
        return contents(tmp_path / "page")

    return write


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / viz.FILES]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_a_new_page_replaces_the_files_of_the_earlier_one_and_nothing_else(
    tmp_path: Path, write: Callable[..., dict[str, str]]
) -> None:
    assert write(PAGE) == PAGE
    for name, text in OWN.items():
        (tmp_path / "page" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "page" / name).write_text(text, encoding="utf-8")
    newer = {viz.MARK: "[1]", "index.html": "new", "api/main": "[2]", "assets/index-2.js": "x"}
    assert write(newer) == newer | OWN  # neither index-1.js nor a report of another run
    (tmp_path / "page" / viz.FILES).unlink()  # as an earlier version of this command left it
    assert write(PAGE) == newer | PAGE | OWN


@pytest.mark.parametrize("full_after", [0, 1, 4])
def test_a_disk_that_is_full_leaves_the_earlier_page(
    tmp_path: Path, write: Callable[..., dict[str, str]], full_after: int
) -> None:
    write(PAGE, full_after)
    assert not (tmp_path / "page").exists()
    before = write(PAGE)
    assert write(dict.fromkeys(PAGE, "new"), full_after) == before
    (tmp_path / "page" / viz.PARTIAL).mkdir()  # of a command that was killed
    assert write(PAGE) == PAGE


@pytest.mark.parametrize("name", ["report.html", "assets/index-1.js"])
@pytest.mark.parametrize("has_list", [True, False])
def test_a_file_that_the_earlier_page_does_not_list_stays(
    tmp_path: Path, write: Callable[..., dict[str, str]], name: str, has_list: bool
) -> None:
    write({viz.MARK: "{}", "index.html": ""})
    path = tmp_path / "page" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    if not has_list:  # as an earlier version of this command left it: only a report may be somebody else's
        (tmp_path / "page" / viz.FILES).unlink()
    before = contents(tmp_path / "page")
    if has_list or name == viz.REPORT:
        with pytest.raises(InputError, match=f"{name} is in the way of a file of the page; move it"):
            write(PAGE)
        assert contents(tmp_path / "page") == before
    else:
        assert write(PAGE) == PAGE


def test_a_command_that_is_killed_while_it_moves_files_keeps_none_as_somebody_elses(
    tmp_path: Path, write: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write({viz.MARK: "{}", "index.html": "", "old.js": ""})
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.name == "report.html":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        write(PAGE)
    assert write(PAGE) == PAGE


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_command_that_ends_before_it_moves_files_can_be_repeated(
    tmp_path: Path, write: Callable[..., dict[str, str]], monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    replace = Path.replace

    def end(path: Path, target: Path) -> Path:
        if isinstance(error, OSError) or target.name != Path(viz.FILES).name:
            raise error
        return replace(path, target)

    (tmp_path / "page").mkdir()
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(Path, "replace", end)
        write(PAGE)
    assert write(PAGE) == PAGE


@pytest.mark.parametrize("name", ["index.html/mine", "assets"])
def test_what_is_in_the_way_of_a_page_stays(tmp_path: Path, write: Callable[..., dict[str, str]], name: str) -> None:
    write({viz.MARK: "{}"})
    (tmp_path / "page" / "index.html").unlink()
    path = tmp_path / "page" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    before = contents(tmp_path / "page")
    with pytest.raises(InputError, match=f"{name.split('/')[0]} is in the way of a file of the page; move it"):
        write(PAGE)
    assert contents(tmp_path / "page") == before


def test_a_list_of_files_leads_to_none_outside(tmp_path: Path, write: Callable[..., dict[str, str]]) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    write(PAGE)
    (tmp_path / "page" / viz.FILES).write_text(
        "\n".join([*PAGE, "../mine.txt", f"{tmp_path}/mine.txt", ""]), encoding="utf-8"
    )
    write(PAGE)
    assert (tmp_path / "mine.txt").exists()
