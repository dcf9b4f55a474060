"""Collect votes: each is on disk before the next pair is shown."""

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import link_or_copy
from rsidiff_kedro.core.votes import (
    COLUMNS,
    IMAGES,
    LEFT,
    RIGHT,
    TIE,
    Votes,
    begin_version,
    file_name,
    write_table,
)
from rsidiff_kedro.labelling.pairs import Pair

WINNERS = (LEFT, RIGHT, TIE)


class StaleError(InputError):
    """A vote on a pair that is not the one that is shown, such as of a second tab."""


@dataclass(frozen=True)
class Source:
    """Name the images of a session: the version of a round's images, and the round."""

    version: str
    round_number: int


class Session:
    """One person's votes on a round's pairs.

    Args:
        pairs: to be shown, in this order; two equal images are never shown.
        source: of the images.
        folder: of the new version of the votes, made by the first vote.
        earlier: all votes before, which the new version repeats.
    """

    def __init__(self, pairs: Sequence[Pair], source: Source, folder: Path, earlier: Votes | None = None) -> None:
        self._pairs, self._source, self._folder, self._earlier = pairs, source, folder, earlier
        self._table = pd.DataFrame(columns=list(COLUMNS)) if earlier is None else earlier.table
        self._given: list[int] = []
        self._place = self._next(0)

    @property
    def votes(self) -> int:
        """Return how many votes this session has given."""
        return len(self._given)

    def state(self) -> dict[str, Any]:
        """Return what the page shows: how far it is, and the prompt unless all pairs have a vote."""
        done = self._place >= len(self._pairs)
        return {
            "number": self._place,
            "pairs": len(self._pairs),
            "votes": self.votes,
            "text": None if done else self._pairs[self._place].text,
        }

    def image(self, number: int, side: str) -> Path | None:
        """Return the file of an image of a pair that was shown or is; None for others."""
        if not 0 <= number <= min(self._place, len(self._pairs) - 1) or side not in (LEFT, RIGHT):
            return None
        return self._pairs[number].paths[side == RIGHT]

    def vote(self, number: int, winner: str) -> None:
        """Keep a vote on the pair that is shown, and go on to the next.

        Raises:
            StaleError: the number is another pair's.
            InputError: the winner is none of `WINNERS`.
            OSError: the vote cannot be written; the pair stays.
        """
        if winner not in WINNERS:
            raise InputError(f"{winner!r} is no vote; give one of {', '.join(WINNERS)}")
        if number != self._place or number >= len(self._pairs):
            raise StaleError("this pair is not the one that is shown; look at the page again")
        following = self._next(number + 1)
        self._save(self._with_vote(self._pairs[number], winner))
        self._given.append(number)
        self._place = following

    def undo(self) -> None:
        """Take back the last vote of this session, if there is one, and show its pair again."""
        if self._given:
            self._save(self._table.iloc[:-1])
            self._place = self._given.pop()

    def _next(self, start: int) -> int:
        """Return the first pair from `start` on whose images differ."""
        place = start
        while place < len(self._pairs) and filecmp.cmp(*self._pairs[place].paths, shallow=False):
            place += 1
        return place

    def _with_vote(self, pair: Pair, winner: str) -> pd.DataFrame:
        left, right = map(file_name, pair.paths)
        row = {
            "round": self._source.round_number,
            "run": self._source.version,
            "prompt_id": pair.prompt_id,
            "text": pair.text,
            "left_id": pair.ids[0],
            "right_id": pair.ids[1],
            "left_file": left,
            "right_file": right,
            "winner": winner,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        self._begin()
        for name, path in zip((left, right), pair.paths):
            if not (self._folder / IMAGES / name).exists():
                link_or_copy(path, self._folder / IMAGES / name)
        new = pd.DataFrame([row], columns=list(COLUMNS))
        return new if self._table.empty else pd.concat([self._table, new], ignore_index=True)

    def _begin(self) -> None:
        """Make the new version, which holds the earlier votes, unless a vote has made it."""
        if not self._folder.exists():
            begin_version(self._earlier or Votes(self._table, self._folder), self._folder)

    def _save(self, table: pd.DataFrame) -> None:
        write_table(table, self._folder)
        self._table = table
