"""A vote is on disk at once, with its images; the last can be taken back."""

import os
import shutil
from pathlib import Path

import pytest

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.votes import Votes, newest_votes, read_votes
from rsidiff_kedro.labelling.pairs import Pair, choose_pairs
from rsidiff_kedro.labelling.session import Session, Source, StaleError

SOURCE = Source("2026-01-01T00.00.00.000Z", 3)


@pytest.fixture
def pairs(scenes_on_disk: ImageSet) -> list[Pair]:
    return choose_pairs(scenes_on_disk, 0, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "votes" / "2026-01-02T00.00.00.000Z" / "votes"


def begin(pairs: list[Pair], folder: Path, earlier: Votes | None = None) -> Session:
    return Session(pairs, SOURCE, folder, earlier)


def test_without_a_vote_nothing_is_written(pairs: list[Pair], folder: Path) -> None:
    begin(pairs, folder).undo()
    assert not folder.parent.exists()


def test_each_vote_is_on_disk_before_the_next_pair(pairs: list[Pair], folder: Path) -> None:
    session = begin(pairs, folder)
    for number, winner in enumerate(("left", "right", "tie")):
        assert session.state()["text"] == pairs[number].text
        session.vote(number, winner)
        assert len(read_votes(folder)) == session.votes == number + 1
    table = read_votes(folder).table
    assert table["winner"].tolist() == ["left", "right", "tie"]
    assert table["left_id"].tolist() == [pair.ids[0] for pair in pairs[:3]]
    assert set(table["round"]) == {3} and set(table["run"]) == {SOURCE.version}
    for name, pair in zip(table["right_file"], pairs):
        assert (folder / "images" / name).read_bytes() == pair.paths[1].read_bytes()
    assert session.state()["number"] == 3


def test_the_images_stay_when_the_run_is_pruned(pairs: list[Pair], folder: Path, tmp_path: Path) -> None:
    copies = [shutil.copy(path, tmp_path) for path in pairs[0].paths]
    begin([Pair("p", "text", ("a", "b"), (Path(copies[0]), Path(copies[1])))], folder).vote(0, "left")
    assert os.stat(copies[0]).st_nlink == 2  # they take no more space
    for copy in copies:
        os.unlink(copy)
    assert [image.size for image in read_votes(folder).pictures()[1]] == [(32, 32)] * 2


def test_the_last_vote_is_taken_back_and_its_pair_shown_again(pairs: list[Pair], folder: Path) -> None:
    session = begin(pairs, folder)
    session.vote(0, "left")
    session.vote(1, "left")
    session.undo()
    assert (session.votes, session.state()["number"], len(read_votes(folder))) == (1, 1, 1)
    session.vote(1, "right")
    assert read_votes(folder).table["winner"].tolist() == ["left", "right"]
    for _ in range(3):
        session.undo()
    assert (session.votes, len(read_votes(folder))) == (0, 0)


def test_a_vote_on_another_pair_than_the_shown_one_is_refused(pairs: list[Pair], folder: Path) -> None:
    session = begin(pairs, folder)
    session.vote(0, "left")
    for number in (0, 2, -1):
        with pytest.raises(StaleError):
            session.vote(number, "right")
    with pytest.raises(InputError, match="'both' is no vote"):
        session.vote(1, "both")
    assert len(read_votes(folder)) == 1


def test_two_equal_images_are_never_shown(pairs: list[Pair], folder: Path) -> None:
    equal = Pair("p", "text", ("a", "b"), (pairs[0].paths[0], pairs[0].paths[0]))
    session = begin([equal, pairs[0], equal, equal, pairs[1], equal], folder)
    assert session.state()["number"] == 1
    session.vote(1, "left")
    assert session.state()["number"] == 4
    session.vote(4, "left")
    assert session.state()["text"] is None
    with pytest.raises(StaleError):
        session.vote(6, "left")


def test_a_vote_that_cannot_be_written_is_not_counted(pairs: list[Pair], folder: Path) -> None:
    session = begin(pairs, folder)
    session.vote(0, "left")
    (folder / "votes.parquet").rename(folder / "kept")
    (folder / "votes.parquet").mkdir()  # nothing can replace a folder, as nothing can be written to a full disk
    (folder / "votes.parquet" / "x").touch()
    with pytest.raises(OSError):
        session.vote(1, "left")
    assert (session.votes, session.state()["number"]) == (1, 1)


def test_a_new_version_begins_with_all_earlier_votes(pairs: list[Pair], folder: Path) -> None:
    begin(pairs, folder).vote(0, "left")
    later = folder.parents[1] / "2026-01-03T00.00.00.000Z" / "votes"
    begin(pairs[1:], later, read_votes(folder)).vote(0, "right")
    assert newest_votes(folder.parents[1]) == later
    shutil.rmtree(folder)
    assert read_votes(later).table["winner"].tolist() == ["left", "right"]
    assert len(read_votes(later).pictures()[1]) == 4
