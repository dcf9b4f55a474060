"""Take the pictures of the docs: Kedro-Viz, MLflow, the report, images of rounds, and votes.

    kedro run --pipeline=rsi --params rounds=6
    python benchmarks/screenshots.py            # writes docs/images

It reads the newest finished run, starts `kedro rsi ui` itself, and needs a Chromium of the system.
"""

import argparse
import io
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SCREEN = {"width": 1400, "height": 900}
REPORT = {"width": 900, "height": 1000}
VOTES = {"width": 760, "height": 560}
COLORS = 256
"""Of a picture's palette, which keeps the files small."""
PATIENCE = 180
"""Seconds that servers and pages may take."""
PROMPTS = ("a small red circle left of a blue square", "a large green diamond on a black background")
KEDRO = [sys.executable, "-m", "kedro", "rsi"]


def main() -> None:
    """Write the pictures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=6, help="of the run")
    options.add_argument("--mlflow-port", type=int, default=5390)
    options.add_argument("--viz-port", type=int, default=4390)
    given = options.parse_args()
    report = max((ROOT / "data" / "08_reporting" / "report.html").glob("*/report.html"))
    subprocess.run(
        [*KEDRO, "sample", *PROMPTS, "--compare", "base", "--out", str(IMAGES / "sample.png")], cwd=ROOT, check=True
    )
    with servers(given.rounds, given.mlflow_port, given.viz_port) as (viz, mlflow), sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        take_report(browser, report)
        take_kedro_viz(browser, viz, given.rounds)
        take_mlflow(browser, mlflow, given.rounds)
        take_votes(browser)
        browser.close()


def take_votes(browser: Browser) -> None:
    """Take the page of votes with its first pair, and give none."""
    with subprocess.Popen([*KEDRO, "label"], cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        try:
            address = next(line.strip() for line in process.stdout if line.startswith("http://127.0.0.1"))
            page = open_page(browser, VOTES)
            page.goto(address)
            page.locator("#pair").wait_for()
            save(shot(page), "label.png")
        finally:
            process.terminate()


@contextmanager
def servers(rounds: int, mlflow_port: int, viz_port: int) -> Iterator[tuple[str, str]]:
    """Run `kedro rsi ui` and yield the addresses of Kedro-Viz and of the rounds in MLflow that it prints."""
    ports = ["--mlflow-port", str(mlflow_port), "--viz-port", str(viz_port)]
    command = [*KEDRO, "ui", "--params", f"rounds={rounds}", *ports]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        found: list[str] = []
        try:
            for line in process.stdout:
                found += re.findall(r"^(?:Kedro-Viz|MLflow, rounds of all runs): (http\S+)$", line.strip())
                if len(found) == 2:
                    break
            mlflow, viz = found
            for port in (mlflow_port, viz_port):
                wait_for(f"http://127.0.0.1:{port}/")
            yield viz, mlflow
        finally:
            process.terminate()


def wait_for(address: str) -> None:
    """Return once a server answers."""
    for _ in range(PATIENCE):
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(1)
    raise TimeoutError(f"{address} does not answer")


def take_kedro_viz(browser: Browser, address: str, rounds: int) -> None:
    """Take the first view, a round's steps, and the previews of a selection and of an adapter."""
    page = open_page(browser, SCREEN)
    page.goto(address)
    box(page, "report").wait_for()
    save(shot(page), "kedro-viz.png")
    number = f"rsi.round_{min(2, rounds)}"
    box(page, "rsi").click()
    box(page, number).click()
    box(page, f"{number}.weighting").wait_for()
    save(shot(page), "kedro-viz-round.png")
    box(page, f"{number}.weighting").click()
    task = page.locator(".pipeline-node[data-node-type='task']", has_text="weigh_samples")
    task.dispatch_event("click")  # a click of the mouse would scroll the graph
    page.get_by_text("Expand preview").wait_for()
    save(shot(page), "kedro-viz-weighting.png")
    page.goto(f"{address}?types=nodes&sn={number}.adapter")
    page.get_by_text("Expand preview").click()
    save(shot(page), "kedro-viz-adapter.png")


def take_mlflow(browser: Browser, address: str, rounds: int) -> None:
    """Take the chart with the rounds unfolded, without MLflow's assistant."""
    page = open_page(browser, SCREEN)
    page.goto(address)
    page.get_by_text(f"round_{rounds}").first.wait_for()
    page.locator("[data-component-id='mlflow.assistant.chat_panel.close']").click()
    page.locator(".js-plotly-plot").nth(1).wait_for()
    save(shot(page), "mlflow.png")


def take_report(browser: Browser, report: Path) -> None:
    """Take its top in light colors, and next to it what became right in the gallery in dark ones."""
    shots = []
    for scheme in ("light", "dark"):
        page = open_page(browser, REPORT, scheme)
        page.goto(report.resolve().as_uri())
        if scheme == "dark":
            page.locator("input[value=rose]").check()
            page.locator("#gallery").evaluate("section => section.scrollIntoView()")
        shots.append(shot(page))
    whole = Image.new("RGB", (sum(each.width for each in shots), max(each.height for each in shots)), "white")
    for index, each in enumerate(shots):
        whole.paste(each, (index * each.width, 0))
    save(whole, "report.png")


def open_page(browser: Browser, size: dict[str, int], scheme: str = "light") -> Page:
    """Open an empty page; addresses of other machines do not answer."""
    page = browser.new_page(viewport=size, color_scheme=scheme)
    page.set_default_timeout(PATIENCE * 1000)
    page.route(re.compile("^https://"), lambda route: route.abort())
    return page


def box(page: Page, name: str) -> Locator:
    """Return a box of Kedro-Viz."""
    return page.locator(f".pipeline-node[data-id='{name}']")


def shot(page: Page) -> Image.Image:
    """Return what the page shows once it stands still."""
    page.wait_for_timeout(3000)
    if page.get_by_text("Dismiss", exact=True).count():  # Kedro-Viz' news
        page.get_by_text("Dismiss", exact=True).click()
    page.mouse.move(page.viewport_size["width"] - 5, page.viewport_size["height"] - 5)  # away from what has a tooltip
    page.wait_for_timeout(1000)
    return Image.open(io.BytesIO(page.screenshot(timeout=PATIENCE * 1000))).convert("RGB")


def save(picture: Image.Image, name: str) -> None:
    """Write a picture with few colors."""
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()
