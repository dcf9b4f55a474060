"""`kedro rsi sample` shows what the newest run's rounds make of a prompt."""

import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from rsidiff_kedro.reporting.grid import GAP, LABEL_WIDTH

Rsi = Callable[..., Result]
PROMPT = "a red circle on a gray background"


def rows_of(path: Path, rows: int, columns: int) -> np.ndarray:
    """Cut a sheet of squares into its images: [rows, columns, side, side, 3]."""
    sheet = np.asarray(Image.open(path))
    side = (sheet.shape[0] - GAP) // rows - GAP
    assert sheet.shape[1] == LABEL_WIDTH + columns * (side + GAP) + 2 * GAP
    tops, lefts = (
        [start + step * (side + GAP) for step in range(n)] for start, n in ((GAP, rows), (GAP + LABEL_WIDTH, columns))
    )
    return np.array([[sheet[top : top + side, left : left + side] for left in lefts] for top in tops])


def test_a_prompt_has_a_row_per_round_and_a_column_per_seed(rsi: Rsi, tmp_path: Path) -> None:
    result = rsi(
        "sample", PROMPT, "--compare=base", "--round=2", "--seeds=2", f"--out={tmp_path / 'new' / 'sheet.png'}"
    )
    assert result.exit_code == 0, result.output
    assert "base, round 2" in result.output and "4 images" in result.output
    images = rows_of(tmp_path / "new" / "sheet.png", 2, 2)
    assert not np.array_equal(images[0, 0], images[0, 1])
    # Three steps of training hardly change what the same noise becomes.
    assert np.abs(images[0].astype(int) - images[1]).mean() < np.abs(images[0, 0].astype(int) - images[0, 1]).mean()


def test_the_best_round_is_the_last_accepted_and_is_said(rsi: Rsi, tmp_path: Path) -> None:
    result = rsi("sample", PROMPT, "--seeds=1", f"--out={tmp_path / 'image.png'}")
    assert result.exit_code == 0, result.output
    assert "(best: the last round that no gate rejected)" in result.output
    assert Image.open(tmp_path / "image.png").size == (32, 32)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.csv", "whose name does not end in .png"),
        ("mine.csv/sheet.png", "mine.csv is no folder, so nothing can be written into"),
        ("sealed/sheet.png", "sealed cannot be written (Read-only file system)"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_generated(
    rsi: Rsi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    def refuse(dir: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    (tmp_path / "mine.csv").write_text("mine")
    (tmp_path / "sealed").mkdir()
    if name.startswith("sealed"):
        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr("rsidiff_kedro.diffusion.side_by_side.sample_side_by_side", None)
    result = rsi("sample", PROMPT, f"--out={tmp_path / name}")
    assert result.exit_code == 1 and said in result.output
    assert (tmp_path / "mine.csv").read_text() == "mine"


def test_without_a_name_no_file_is_written_over(rsi: Rsi, tmp_path: Path) -> None:
    from rsidiff_kedro.cli.sample import _free_name

    for name in ("sample.png", "sample-2.png", "sample-3.png"):
        assert _free_name(tmp_path / "sample.png") == tmp_path / name
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((PROMPT, "--round=9"), "there is no round '9' in the run"),
        ((PROMPT, "--round=-1"), "there is no round '-1' in the run"),
        (("a photo of my cat",), "the judge 'scenes' cannot read the prompt 'a photo of my cat'"),
        (("a red circle " * 20, "--params=evaluation.judge=null"), "tokens, and the model reads 16; shorten it"),
        ((PROMPT, "--params=sampler.guidance_scale=0"), "'sampler.guidance_scale' is 0"),
        ((PROMPT, "--env=sd14"), "has trained a round"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_one_line(rsi: Rsi, arguments: tuple[str, ...], said: str) -> None:
    result = rsi("sample", *arguments)
    assert result.exit_code == 1 and result.output.startswith("Error: "), result.output
    assert len(result.output.splitlines()) == 1 and said in result.output
