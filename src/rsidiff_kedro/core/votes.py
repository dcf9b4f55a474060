"""Keep votes: which of two images of a prompt a person prefers, with the images, so that runs may be pruned."""

import glob
import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.file_lock import held_by, is_locked
from rsidiff_kedro.core.files import age, link_or_copy, partial_path, replacing
from rsidiff_kedro.core.image_set import ImageFiles
from rsidiff_kedro.core.untrusted.tables import TableError, read_parquet

TABLE, IMAGES, LOCK = "votes.parquet", "images", ".lock"
LEFT, RIGHT, TIE = "left", "right", "tie"
TEXTS = (
    "run",  # the version of the round's images
    "prompt_id",
    "text",
    "left_id",
    "right_id",
    "left_file",
    "right_file",
    "winner",  # left, right or tie
    "time",  # UTC
)
COLUMNS = ("round", *TEXTS)
_FILE = re.compile(r"[0-9a-f]{32}\.png")


class VotesError(InputError):
    """Votes that are missing, damaged or too few."""


@dataclass(frozen=True)
class Votes:
    """Votes and the folder that holds their images.

    Attributes:
        table: one row per vote, with `COLUMNS`; `left_file` and `right_file` are names in `folder/images`.
        folder: of the images.
    """

    table: pd.DataFrame
    folder: Path

    def __len__(self) -> int:
        return len(self.table)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the table's file, which names its images by their content."""
        return hashlib.sha256((self.folder / TABLE).read_bytes()).hexdigest()

    @property
    def decided(self) -> pd.DataFrame:
        """Return the votes that prefer one of their two images."""
        return self.table[self.table["winner"] != TIE]

    def pictures(self) -> tuple[pd.DataFrame, ImageFiles]:
        """Return each image once: a table with image_id (its file's name), prompt_id and text, and the images."""
        sides = [
            self.table[[f"{side}_file", "prompt_id", "text"]].rename(columns={f"{side}_file": "image_id"})
            for side in (LEFT, RIGHT)
        ]
        # Sorted by prompt, because a reward may compare all samples of one.
        once = pd.concat(sides).drop_duplicates().sort_values(["prompt_id", "image_id"], ignore_index=True)
        return once, ImageFiles(self.folder / IMAGES / name for name in once["image_id"])

    def places(self, pictures: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of `pictures()` that hold the left and the right image of each vote: [n], [n]."""
        rows = {key: row for row, key in enumerate(zip(pictures["image_id"], pictures["prompt_id"]))}
        left, right = (
            np.array([rows[key] for key in zip(self.table[f"{side}_file"], self.table["prompt_id"])], dtype=int)
            for side in (LEFT, RIGHT)
        )
        return left, right


def file_name(image: Path) -> str:
    """Return the name under which votes keep an image: a digest of its bytes."""
    return hashlib.sha256(image.read_bytes()).hexdigest()[:32] + ".png"


def newest_votes(path: Path) -> Path:
    """Return the folder of the newest version of a versioned dataset of votes.

    It is the path itself if there is none, or a copy without versions beside them, which `read_votes` refuses.
    """
    if (path / TABLE).is_file():
        return path
    return max(_versions(path), key=lambda each: age(each.parent.name), default=path)


def _versions(path: Path) -> list[Path]:
    return [each.parent for each in path.glob(f"*/{glob.escape(path.name)}/{TABLE}")]


def read_votes(folder: Path) -> Votes:
    """Read the votes in a folder.

    Raises:
        VotesError: there are none, or versions beside them, or the table or an image is damaged or missing.
    """
    path = folder / TABLE
    if not path.is_file():
        raise VotesError(f"there are no votes in {folder}; give some with `kedro rsi label`")
    versions = _versions(folder)
    if versions:
        raise VotesError(
            f"{folder} holds votes without versions, {TABLE}, and others in versions, {max(versions).parent.name} the "
            f"last, so only some would count; move {TABLE} and {IMAGES} away"
        )
    try:
        table = read_parquet(path)
    except TableError as error:
        raise VotesError(f"{path} is no readable Parquet file ({error}); put back a copy") from error
    if problem := _problem(table):
        raise VotesError(f"{path} {problem}; put back a copy")
    names = sorted({*table["left_file"], *table["right_file"]})
    lost = [name for name in names if not (folder / IMAGES / name).is_file() or (folder / IMAGES / name).is_symlink()]
    if lost:
        raise VotesError(
            f"{folder / IMAGES} lacks {len(lost)} of the {len(names)} images that {TABLE} names, {lost[0]} first; put "
            "them back, or remove their votes from the table"
        )
    return Votes(table[list(COLUMNS)], folder)


def given_by(folder: Path) -> str:
    """Say who gives votes by `kedro rsi label` to the dataset that this folder is a version of; "" if nobody does."""
    lock = folder.parent.parent / LOCK
    is_held = folder.parent.parent.name == folder.name and lock.exists() and is_locked(lock)
    return held_by(lock) if is_held else ""


def _problem(table: pd.DataFrame) -> str:
    missing = sorted({*COLUMNS} - {*table.columns})
    if missing:
        return f"lacks the columns {missing}"
    if not len(table):
        return ""
    wrong = [name for name in TEXTS if not all(isinstance(value, str) for value in table[name])]
    if wrong or not pd.api.types.is_integer_dtype(table["round"]):
        return f"holds values in the columns {wrong or ['round']} that they cannot have"
    if not table["winner"].isin([LEFT, RIGHT, TIE]).all():
        return f"has a winner that is none of {LEFT}, {RIGHT} and {TIE}"
    unsafe = [name for side in (LEFT, RIGHT) for name in table[f"{side}_file"] if not _FILE.fullmatch(name)]
    return f"names the image {unsafe[0]!r}, which is no digest" if unsafe else ""


def write_votes(votes: Votes, folder: Path) -> None:
    """Write votes into a folder that exists: the images first, then the table, which appears whole or not at all."""
    images = folder / IMAGES
    images.mkdir(exist_ok=True)
    for name in sorted({*votes.table["left_file"], *votes.table["right_file"]}):
        if not (images / name).exists():
            link_or_copy(votes.folder / IMAGES / name, images / name)
    write_table(votes.table, folder)


def write_table(table: pd.DataFrame, folder: Path) -> None:
    """Replace the table of votes; it is on disk when this returns."""
    with replacing(folder / TABLE) as partial:
        table[list(COLUMNS)].to_parquet(partial, index=False)


def begin_version(votes: Votes, folder: Path) -> None:
    """Write votes into a new folder, which appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(folder)
    partial.mkdir()
    try:
        write_votes(votes, partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
