"""Damaged votes are refused in one line, or read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from damage import damaged, examples
from hypothesis import given

from rsidiff_kedro.core.votes import COLUMNS, Votes, VotesError, read_votes


def test_tables_of_votes(give_votes: Callable[..., Votes], tmp_path: Path, answer) -> None:
    folder = give_votes(lambda image: image.getpixel((0, 0))[0], 6).folder
    content = (folder / "votes.parquet").read_bytes()

    @examples(100)
    @given(damaged(content))
    def check(changed: bytes) -> None:
        (folder / "votes.parquet").write_bytes(changed)
        votes = answer(lambda: read_votes(folder), VotesError, folder)
        if votes is not None:
            assert list(votes.table) == list(COLUMNS)
            pictures, images = votes.pictures()
            left, right = votes.places(pictures)
            assert len(left) == len(right) == len(votes) and all(
                path.parent == folder / "images" for path in images.paths
            )

    check()


def test_a_linked_image_is_refused(give_votes: Callable[..., Votes], tmp_path: Path) -> None:
    folder = give_votes(None, 2).folder
    image = next((folder / "images").iterdir())
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(VotesError, match="lacks 1 of the 4 images"):
        read_votes(folder)
