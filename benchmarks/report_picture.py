"""Take the picture of a report for the docs: its top, and its gallery, next to each other.

    python benchmarks/report_picture.py                      # the newest report in data/
    python benchmarks/report_picture.py report.html out.png

A Chromium of the system takes it.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SIZE = {"width": 900, "height": 1000}
COLORS = 256
"""Of the picture's palette, which keeps the file small."""


def main() -> None:
    """Write docs/images/report.png."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("report", type=Path, nargs="?")
    options.add_argument("picture", type=Path, nargs="?", default=ROOT / "docs" / "images" / "report.png")
    given = options.parse_args()
    report = given.report or max((ROOT / "data" / "08_reporting" / "report.html").glob("*/report.html"))
    shots = take(report.resolve())
    whole = Image.new("RGB", (sum(shot.width for shot in shots), max(shot.height for shot in shots)), "white")
    for index, shot in enumerate(shots):
        whole.paste(shot, (index * shot.width, 0))
    whole.quantize(COLORS, dither=Image.Dither.NONE).save(given.picture, optimize=True)


def take(report: Path) -> list[Image.Image]:
    """Return the top in light colors, and what became right in the gallery in dark ones."""
    shots = []
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            page.goto(report.as_uri())
            if scheme == "dark":
                page.locator("input[value=rose]").check()
                page.locator("#gallery").evaluate("section => section.scrollIntoView()")
            page.wait_for_timeout(1000)
            shots.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        browser.close()
    return shots


if __name__ == "__main__":
    main()
