"""Show in Kedro-Viz what the strategies did in the newest run. A preview reads what a run wrote; runs call none.

Kedro calls a preview without arguments, so the context says where the runs are.
"""

import base64
import io
import logging
from collections.abc import Callable
from typing import Any

from kedro.io import DatasetError
from kedro.pipeline.preview_contract import ImagePreview, TextPreview
from PIL import Image

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.text import printable, without_credentials, without_places
from rsidiff_kedro.datasets.runs import Run, RunError, Runs
from rsidiff_kedro.pipelines.stage import METHOD
from rsidiff_kedro.reporting.effects import curation_text, selection_sheet, weights_sheet

logger = logging.getLogger(__name__)
Preview = ImagePreview | TextPreview
_open_runs: Callable[[], Runs] | None = None


def show_runs(open_runs: Callable[[], Runs]) -> None:
    """Set where previews look for runs."""
    global _open_runs
    _open_runs = open_runs


def preview_selection(round_number: int) -> Callable[[], Preview]:
    """Return the preview of a round's selection: samples of some prompts, kept and dropped."""
    return lambda: _of_newest_run(lambda run: _image(selection_sheet(_samples(run, round_number))))


def preview_weighting(round_number: int) -> Callable[[], Preview]:
    """Return the preview of a round's weighting: samples with the lowest and the highest weights."""
    return lambda: _of_newest_run(lambda run: _image(weights_sheet(_samples(run, round_number))))


def preview_curation(kept: str, dropped: str) -> Callable[[], Preview]:
    """Return the preview of a step that drops prompts, by the names of its two tables."""
    return lambda: _of_newest_run(lambda run: TextPreview(curation_text(run.load(kept), run.load(dropped))))


def _samples(run: Run, round_number: int) -> dict[str, Any]:
    samples: dict[str, Any] = run.load(f"{METHOD}.round_{round_number}.training_samples")
    return samples


def _of_newest_run(show: Callable[[Run], Preview]) -> Preview:
    """Show something of the newest run, or say why there is nothing to show, also at the prompt if it cannot be read.

    The page may be for others, so it names files by their last names alone.
    """
    if _open_runs is None:
        return TextPreview("The project was not opened, so no run can be shown.")
    try:
        return show(_open_runs().newest())
    except (InputError, DatasetError, OSError) as error:
        said = printable(without_credentials(str(error)))
        if not isinstance(error, RunError):  # there is something, but it cannot be read
            logger.warning("A preview could not be made: %s", said)
        return TextPreview(without_places(said))


def _image(sheet: Image.Image) -> ImagePreview:
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return ImagePreview(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}")
