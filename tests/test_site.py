"""The site of `make docs` is whole, asks no other host for anything, and has every setting and public function."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import rsidiff_kedro.method
from rsidiff_kedro.core.validation import fields_of, sections_in
from rsidiff_kedro.parameters import schema
from rsidiff_kedro.prompts.sources import SOURCES

ROOT = Path(__file__).parents[1]
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data", "image": "href"}
"""The attribute of an element that a browser fetches; of a link only what belongs to the page."""
OF_A_PAGE = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest"}

ROW = r"<tr>\s*<td><code>(\w+)</code></td>\s*<td>(.*?)</td>\s*<td>(.*?)</td>\s*<td>.*?</td>"
"""A setting's name, meaning and value."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built as `make docs` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


class Fetched(HTMLParser):
    """Collect the addresses that a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and OF_A_PAGE & {*(given.get("rel") or "").split()}:
            self.addresses.append(given.get("href") or "")
        if tag in FETCHED:
            self.addresses.append(given.get(FETCHED[tag]) or "")


def fetched(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        parser = Fetched()
        parser.feed(text)
        yield from parser.addresses
    yield from re.findall(r"""(?:url\(|@import)\s*["']?([^"')\s]+)""", text)


def test_every_page_of_the_docs_is_in_the_navigation(site: Path) -> None:
    """Pages of studies come and go with `make study`."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert {page for page in pages if f": {page}\n" not in text and not page.startswith("studies/")} == set()
    assert {page for page in pages if not (site / page).with_suffix(".html").is_file()} == set()


def test_no_page_asks_another_host_for_a_script_a_style_a_font_or_a_picture(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 40
    found = {(path.name, address) for path in files for address in fetched(path)}
    assert ("method.html", "site.css") in found
    assert {each for each in found if re.match(r"(?:https?:)?//", each[1])} == set()


def test_the_scan_sees_what_a_browser_would_fetch(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<link rel="stylesheet" href="//a/b.css"><script src="https://c/d.js"></script><a href="//e">')
    assert [*fetched(page)] == ["//a/b.css", "https://c/d.js"]


def test_diagrams_and_formulas_are_drawn_when_the_site_is_built(site: Path) -> None:
    method = (site / "method.html").read_text(encoding="utf-8")
    assert method.count("<math") == (ROOT / "docs/method.md").read_text(encoding="utf-8").count("```math") > 3
    assert (site / "index.html").read_text(encoding="utf-8").count('<div class="diagram"><svg') == 1
    assert not [path for path in site.rglob("*.html") if 'class="mermaid"' in path.read_text(encoding="utf-8")]


def test_the_configuration_reference_has_every_setting_with_its_meaning(site: Path) -> None:
    page = (site / "configuration.html").read_text(encoding="utf-8")
    rows = re.findall(ROW, page, re.DOTALL)
    settings = [name for name, field in fields_of(schema()) if not sections_in(field.annotation)]
    wanted = {name.rpartition(".")[2] for name in settings if not name.startswith("base_model.")}
    wanted |= {name for kind in SOURCES.names for name in SOURCES.load(kind).model_fields}
    assert wanted - {name for name, _, _ in rows} == {"kind"}  # which is in headings
    assert [name for name, meaning, _ in rows if not meaning.strip()] == []
    assert ("steps", "<code>100</code>") in {(name, value.partition("<br")[0]) for name, _, value in rows}


def test_the_reference_has_the_public_functions_of_the_method(site: Path) -> None:
    page = (site / "api/method.html").read_text(encoding="utf-8")
    package = Path(rsidiff_kedro.method.__file__).parent
    names = {
        f"rsidiff_kedro.method.{path.stem}.{name}"
        for path in package.glob("[a-z]*.py")
        for name in re.findall(r"^def ([a-z]\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(names) > 8
    assert {name for name in names if f'id="{name}"' not in page} == set()


def test_a_links_target_outside_the_docs_is_a_page_or_no_link(site: Path) -> None:
    assert 'href="security.html"' in (site / "architecture.html").read_text(encoding="utf-8")
    assert "test_ray_engine.py" not in (site / "scale.html").read_text(encoding="utf-8")
