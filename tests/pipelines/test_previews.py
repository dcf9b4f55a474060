"""What Kedro-Viz shows of a step: what it did in the newest run."""

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.pipeline.preview_contract import ImagePreview, TextPreview
from PIL import Image

from rsidiff_kedro.cli.project import open_project
from rsidiff_kedro.pipelines import previews


@pytest.fixture
def context(finished_project: Path) -> Iterator[KedroContext]:
    """The context that Kedro-Viz makes of a project with a finished run."""
    bootstrap_project(finished_project)
    with KedroSession.create(finished_project, env="test") as session:
        yield session.load_context()


def preview_of(name: str) -> previews.Preview:
    (node,) = (node for node in pipelines["rsi"].nodes if node.name == name)
    found = node.preview()
    assert isinstance(found, ImagePreview | TextPreview)
    return found


@pytest.mark.parametrize("step", ["preference_selection.select_samples", "weighting.weigh_samples"])
def test_a_strategy_shows_its_samples(context: KedroContext, step: str) -> None:
    found = preview_of(f"rsi.round_1.{step}")
    assert isinstance(found, ImagePreview)
    data = base64.b64decode(found.content.removeprefix("data:image/png;base64,"))
    assert min(Image.open(io.BytesIO(data)).size) > 100


@pytest.mark.parametrize("step", ["filter_prompts", "select_pool"])
def test_curation_shows_prompts(context: KedroContext, step: str) -> None:
    assert preview_of(f"prompt_curation.{step}").content.startswith("Kept ")


def test_an_adapter_shows_its_images(context: KedroContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # paths in the catalog are the project's
    for name in ("rsi.round_0.adapter", "rsi.round_1.adapter", "rsi.round_1.candidate"):
        dataset = context.catalog[name]
        sheet = dataset.preview(**dataset.metadata["kedro-viz"]["preview_args"])
        assert min(Image.open(io.BytesIO(base64.b64decode(sheet))).size) > 100


def test_before_the_first_run_a_preview_says_so(load_context) -> None:
    load_context()
    assert "has trained a round" in preview_of("rsi.round_1.weighting.weigh_samples").content


def test_a_round_that_the_run_did_not_reach_is_named(context: KedroContext, caplog: pytest.LogCaptureFixture) -> None:
    found = previews.preview_selection(99)()
    assert "made no rsi.round_99.training_samples" in found.content and not caplog.messages


def test_what_cannot_be_read_is_told_at_the_prompt_and_its_folder_only_there(
    finished_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project = shutil.copytree(finished_project, tmp_path / "Acme, Inc. (it's)", symlinks=True)
    bootstrap_project(project)
    with KedroSession.create(project, env="test") as session:
        session.load_context()
        monkeypatch.chdir(project)
        run = open_project("test", {})[1].newest()
        file = run.path("rsi.round_1.training_samples")
        file.unlink()  # a link to the fixture's
        file.write_text("damaged", encoding="utf-8")
        found = previews.preview_selection(1)()
    assert isinstance(found, TextPreview) and "training_samples" in found.content
    assert "Acme" not in found.content and str(tmp_path) not in found.content
    (said,) = caplog.messages
    assert said.startswith("A preview could not be made: ") and str(project) in said
