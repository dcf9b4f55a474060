"""A prompt, a category or a name is shown as what it is, and never read as HTML, JSON, a format or an escape."""

import base64
import io
import json
import logging
import re
import shutil
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Pipeline, node
from mlflow import MlflowClient
from PIL import Image

from rsidiff_kedro.cli import rsi
from rsidiff_kedro.cli.prompt_report import filter_report
from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.datasets import AdapterDataset, ImageSetDataset
from rsidiff_kedro.evaluation.categories import category_scores
from rsidiff_kedro.execution.run_facts import Change, RunFacts
from rsidiff_kedro.hooks.configuration import RsiConfigLoader
from rsidiff_kedro.hooks.tracking import TrackingHooks
from rsidiff_kedro.method.settings import SelectionSettings
from rsidiff_kedro.pipelines.report.nodes import summarize
from rsidiff_kedro.prompts.sources.file import FileSource
from rsidiff_kedro.prompts.sources.source import PromptSourceError
from rsidiff_kedro.provenance.records import Record, Records
from rsidiff_kedro.reporting import figures
from rsidiff_kedro.reporting.category_table import category_html, category_text
from rsidiff_kedro.reporting.contact_sheet import contact_sheet
from rsidiff_kedro.reporting.gallery import gallery
from rsidiff_kedro.reporting.report import Contents, report_html
from rsidiff_kedro.settings import CONFIG_LOADER_ARGS

HARMLESS = "a red circle"
SELECTION = SelectionSettings(rewards={"proxy": 1.0})


class Page(HTMLParser):
    """What a browser makes of HTML: the elements with their attributes, the texts between them, and comments."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[str] = []
        self.texts: list[str] = []
        self.others: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value or "" for name, value in attrs if name == "alt"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def scores_of(*categories: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Prompts of these categories, and their test scores."""
    ids = [f"p{number}" for number in range(len(categories))]
    prompts = pd.DataFrame({"prompt_id": ids, "category": categories})
    scores = pd.DataFrame({"prompt_id": ids, "sample_index": 0, "image_id": [f"{each}-0" for each in ids]})
    return prompts, scores.assign(correct=True, attribute_accuracy=1.0, hallucinations=0, proxy=0.5)


def shown_in(page: Page) -> dict[str, Any]:
    """Return the data that the report's script reads."""
    return json.loads(next(text for text in page.texts if text.startswith('{"gallery"')))["gallery"]


@cache
def page_with_a_gallery(text: str, draw: Callable[..., ImageSet]) -> Page:
    prompts, scores = scores_of(text, text)
    shown = gallery([draw(text, "b")], [scores], prompts, ["proxy"], SELECTION, ["proxy"])
    return Page(report_html(Contents([{"gate/accepted": 1.0}], "", ["proxy"], shown)))


def test_the_gallery(hostile: str, draw) -> None:
    pages = [page_with_a_gallery(text, draw) for text in (hostile, HARMLESS)]
    assert pages[0].elements == pages[1].elements
    assert pages[0].others == pages[1].others
    rows = shown_in(pages[0])["rows"]
    assert rows[0]["text"] == rows[0]["category"] == hostile


def test_the_table_of_categories(hostile: str) -> None:
    made = []
    for category in (hostile, HARMLESS):
        prompts, scores = scores_of(category, "other")
        made.append(category_scores(prompts, [scores, scores], ["proxy"], 10, 0))
    pages = [Page(category_html(table)) for table in made]
    assert pages[0].elements == pages[1].elements
    assert hostile in pages[0].texts
    lines = category_text(made[0])
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


@cache
def page_with_plots(name: str) -> Page:
    metrics = [{f"test/reward/{name}": 0.5, "gate/accepted": 1.0}] * 2
    assert "<" not in figures.reward_figure(*metrics).data[0].name
    shown = {"rows": [], "rounds": [], "rewards": [], "measure": None}
    facts = RunFacts("1", name, name, {name: Change(name, name)}, {name: name}, {name: 1.0}, {1: name})
    kept = {"prompts": [{"name": name, "left": 1, "dropped": [{"reason": name, "count": 1}]}], "samples": []}
    return Page(report_html(Contents(metrics, name, [name], shown, funnel=kept, facts=facts)))


def test_the_report_with_its_plots(hostile: str) -> None:
    pages = [page_with_plots(name) for name in (hostile, HARMLESS)]
    elements = [[each for each in page.elements if each != ("span", ())] for page in pages]  # around a path
    assert elements[0] == elements[1]
    assert pages[0].others == pages[1].others


def test_the_log_of_a_summary(hostile: str, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)
    prompts, scores = scores_of(hostile, "other")
    metrics = [{"test/reward/proxy": 0.5}] * 2
    with caplog.at_level(logging.INFO):
        summarize(
            10,
            0,
            True,
            {"proxy": 1.0},
            {},
            None,
            category_scores(prompts, [scores, scores], ["proxy"], 10, 0),
            scores,
            scores,
            *metrics,
        )
    assert all(line.isprintable() for line in caplog.messages[-1].splitlines())


def test_the_contact_sheet(hostile: str) -> None:
    image = Image.new("RGB", (8, 8))
    plain, captioned = (contact_sheet([image], 1, 16, [text]) for text in (HARMLESS, hostile))
    assert captioned.size == plain.size


def test_the_preview_of_an_image_set(tmp_path: Path, hostile: str, draw) -> None:
    dataset = ImageSetDataset(filepath=tmp_path / "set")
    dataset.save(draw(hostile))
    assert dataset.load().metadata["text"].tolist() == [hostile]
    assert Image.open(io.BytesIO(base64.b64decode(dataset.preview()))).width > 100


def test_the_record_of_an_adapter(tmp_path: Path, hostile: str) -> None:
    dataset = AdapterDataset(filepath=tmp_path / "adapter")
    dataset.save(Adapter({}, {"base_model": hostile, hostile: 1}))
    assert dataset.load().info == {"base_model": hostile, hostile: 1}
    with pytest.raises(DatasetError) as caught:
        dataset.preview(str(tmp_path / "images"))
    assert str(caught.value).isprintable()


def test_the_report_of_the_filters(hostile: str) -> None:
    kept = prompt_table([hostile], "file", hostile).assign(n_tokens=3)
    rejected = kept.assign(rule="too_long", detail=hostile)
    report = filter_report(kept, rejected, 77)
    assert "<" not in report
    assert all(line.isprintable() for line in report.splitlines())
    assert {line.replace("\\|", "").count("|") for line in report.splitlines() if line} <= {4, 5}


def test_the_message_of_an_error(tmp_path: Path, hostile: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{hostile: "a fox", "note": "new"}]))
    with pytest.raises(PromptSourceError) as caught:
        FileSource(path=path).collect(0)
    assert str(caught.value).isprintable()
    assert str(InputError(hostile)).isprintable()


def test_the_command_that_shows_lineage(project: Path, hostile: str) -> None:
    parts: dict[str, Any] = {"code": hostile, "assets": hostile, "libraries": {hostile: hostile}}
    record = Record(
        step=hostile, version="1", outputs={"pool": "d1"}, parameters={hostile: hostile}, inputs={}, **parts
    )
    Records(project / "data" / "lineage").write(record)
    result = CliRunner().invoke(rsi, ["lineage", "pool"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 3
    assert all(line.isprintable() for line in result.output.splitlines())


def track(root: Path, store: Path, run: Callable[[TrackingHooks], None], **parameters: Any) -> Any:
    """The parent and the child of a run that the hooks record."""
    shutil.copy(store, root / "mlflow.db")
    for name in ("base", "scenes", "local"):
        (root / "conf" / name).mkdir(parents=True)
    (root / "conf/base/globals.yml").write_text("data: data\n")
    (root / "conf/base/mlflow.yml").write_text("tracking: {experiment: e, artifact_location: artifacts}\n")
    loader = RsiConfigLoader(str(root / "conf"), **CONFIG_LOADER_ARGS)
    hooks = TrackingHooks()
    hooks.after_context_created(SimpleNamespace(config_loader=loader, project_path=root))  # type: ignore[arg-type]
    pipeline = Pipeline([node(lambda: {}, None, "rsi.round_1.metrics", name="n")])
    catalog = DataCatalog({"parameters": MemoryDataset(parameters)})
    hooks.before_pipeline_run({"run_id": "now"}, pipeline, catalog)
    run(hooks)
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    return next(each for each in runs if "round" not in each.data.tags)


def test_mlflow(tmp_path: Path, monkeypatch, empty_store: Path, hostile: str, draw) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(hooks: TrackingHooks) -> None:
        hooks.after_dataset_saved("rsi.round_1.test_images", draw(hostile, HARMLESS))
        hooks.after_dataset_saved("rsi.round_1.adapter", Adapter({}, {"base_model": hostile}))
        hooks.after_dataset_saved("summary", hostile)
        hooks.on_pipeline_error(RuntimeError(hostile))

    parent = track(tmp_path, empty_store, run, words={"color": [hostile]}, text=hostile)
    assert parent.info.status == "FAILED"
    assert parent.data.tags["error"].isprintable()
    assert parent.data.params["text"][:500] == hostile[:500]
    assert parent.data.params["words.color"][:500] == json.dumps([hostile])[:500]
    kept = {path.name for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}
    grid = {name for name in kept if re.fullmatch(r"\d\d[A-Za-z0-9_ -]*\+step\+1\+timestamp[\w+-]+\.(png|webp)", name)}
    assert kept - grid == {"test_images.png", "adapter.json", "summary.txt"}
    assert len(grid) == 4  # two images, each with a smaller copy
    (info,) = (tmp_path / "artifacts").rglob("adapter.json")
    assert json.loads(info.read_text())["base_model"] == hostile
