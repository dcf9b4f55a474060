"""Votes as a versioned dataset of Kedro."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io.core import Version
from time_machine import travel

from rsidiff_kedro.core.votes import Votes, VotesError, newest_votes, read_votes
from rsidiff_kedro.datasets import VotesDataset
from rsidiff_kedro.datasets.folder import FolderError
from rsidiff_kedro.datasets.votes import votes_dataset

GiveVotes = Callable[..., Votes]


def test_saved_votes_are_loaded_with_their_images(give_votes: GiveVotes, tmp_path: Path) -> None:
    votes = give_votes(lambda image: image.getpixel((0, 0))[0], 6)
    dataset = VotesDataset(filepath=tmp_path / "copy", version=Version(None, "2026-01-01T00.00.00.000Z"))
    dataset.save(votes)
    loaded = dataset.load()
    pd.testing.assert_frame_equal(loaded.table, votes.table)
    assert [image.tobytes() for image in loaded.pictures()[1]] == [image.tobytes() for image in votes.pictures()[1]]


def test_a_version_without_an_image_is_not_loaded(give_votes: GiveVotes) -> None:
    folder = give_votes(None, 2).folder
    next((folder / "images").iterdir()).unlink()
    with pytest.raises(FolderError, match="lacks 1 of the 4 images"):
        VotesDataset(filepath=folder).load()


def test_a_copy_beside_the_versions_is_none(give_votes: GiveVotes) -> None:
    folder = give_votes(None, 1, "2026-06-01T00.00.00.000Z").folder
    place = folder.parents[1]
    shutil.copytree(folder.parent, place / "backup")
    assert newest_votes(place) == folder
    assert VotesDataset(filepath=place, version=Version(None, None)).resolve_load_version() == folder.parent.name
    with travel("2026-06-02T12:00:00Z", tick=False):
        assert VotesDataset(filepath=place, version=Version(None, None)).new_version().parents[1] == place


def test_no_votes_are_given_beside_votes_without_versions_which_would_hide_them(give_votes: GiveVotes) -> None:
    folder = give_votes(None, 2, "2026-06-01T00.00.00.000Z").folder
    place = folder.parents[1]
    shutil.copytree(folder, place, dirs_exist_ok=True)
    dataset = VotesDataset(filepath=place, version=Version(None, None))
    with pytest.raises(VotesError, match=r"and others in versions, 2026-06-01.* the last, so only some would count"):
        read_votes(newest_votes(place))
    with pytest.raises(VotesError, match=r"new ones would not count beside them; move votes.parquet and images away$"):
        dataset.new_version()
    shutil.rmtree(folder.parent)
    assert len(read_votes(newest_votes(place))) == 2
    with (
        travel("2026-06-02T12:00:00Z", tick=False),
        pytest.raises(VotesError, match=r"away, or into .*/2026-06-02T12\.00\.00\.000Z/votes to go on with them$"),
    ):
        dataset.new_version()
    moved = place / "2026-06-02T12.00.00.000Z" / "votes"
    moved.mkdir(parents=True)
    for name in ("votes.parquet", "images"):
        (place / name).rename(moved / name)
    assert newest_votes(place) == moved and len(dataset.load()) == 2
    with travel("2026-06-03T12:00:00Z", tick=False):
        assert dataset.new_version().parent.name == "2026-06-03T12.00.00.000Z"


def test_without_versions_no_votes_are_given(tmp_path: Path) -> None:
    with pytest.raises(VotesError, match=r"/votes have no versions in catalog.yml, and .*; set `versioned: true`"):
        VotesDataset(filepath=tmp_path / "votes").new_version()


def test_a_version_that_would_not_be_the_newest_does_not_begin(give_votes: GiveVotes) -> None:
    place = give_votes(None, 1, "2026-06-01T00.00.00.000Z").folder.parents[1]
    dataset = VotesDataset(filepath=place, version=Version(None, None))
    with travel("2026-05-31T12:00:00Z", tick=False), pytest.raises(VotesError, match="set the clock"):
        dataset.new_version()
    with travel("2026-06-02T12:00:00Z", tick=False):
        assert dataset.new_version() == place / "2026-06-02T12.00.00.000Z" / "votes"


@pytest.mark.parametrize("change", [{"versioned": False}, {"type": "rsidiff_kedro.datasets.JSONDataset"}])
def test_votes_are_of_their_class_and_have_versions(tmp_path: Path, change: dict[str, Any]) -> None:
    entry = {"type": "rsidiff_kedro.datasets.VotesDataset", "filepath": str(tmp_path), "versioned": True}
    assert isinstance(votes_dataset({"votes": entry}), VotesDataset)
    for config in ({"votes": entry | change}, {}):
        with pytest.raises(VotesError, match=r"is no rsidiff_kedro.datasets.VotesDataset with `versioned: true`"):
            votes_dataset(config)
