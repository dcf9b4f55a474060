"""Store votes: a table with the images that it names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import DataCatalog
from kedro.io.core import generate_timestamp

from rsidiff_kedro.core.files import age
from rsidiff_kedro.core.votes import IMAGES, TABLE, Votes, VotesError, read_votes, write_votes
from rsidiff_kedro.datasets.folder import FolderDataset, FolderError

NAME = "votes"
"""The dataset that `kedro rsi label` writes."""


class VotesDataset(FolderDataset[Votes]):
    """`Votes` as a folder: `votes.parquet` and `images/<digest>.png`. A version holds all votes until then.

    Images are hard links to those of the run, so they take no more space and stay when the run is pruned.
    """

    own_files = (TABLE,)

    def _write(self, data: Votes, folder: Path) -> None:
        write_votes(data, folder)

    def _read(self, folder: Path) -> Votes:
        try:
            return read_votes(folder)
        except VotesError as error:
            raise FolderError(str(error)) from error

    def new_version(self) -> Path:
        """Return the folder of a version that begins now.

        Raises:
            VotesError: a version is newer, or a copy without versions lies there, so the new one would not be read, or
                the catalog says that there are no versions.
        """
        place = Path(self._filepath)
        if self._version is None:
            raise VotesError(
                f"the votes in {place} have no versions in catalog.yml, and new ones need one; set `versioned: true`"
            )
        version, newest = generate_timestamp(), max(map(_version, self._get_versions()), key=age, default="")
        if age(version) <= age(newest):
            raise VotesError(f"the clock says {version}, but there are votes of {newest}; set the clock")
        folder = self.version_folder(version)
        if (place / TABLE).exists():
            begin = "" if newest else f", or into {folder} to go on with them"
            raise VotesError(
                f"{place} holds votes without versions, {TABLE}, and new ones would not count beside them; move "
                f"{TABLE} and {IMAGES} away{begin}"
            )
        return folder


def _version(path: str) -> str:
    return Path(path).parent.name


def votes_dataset(config: Mapping[str, Any]) -> VotesDataset:
    """Return the dataset of votes of a project's catalog; see `catalog_config`.

    Raises:
        VotesError: it is of another type, or has no versions.
    """
    found = DataCatalog.from_config({NAME: dict(config[NAME])}).get(NAME) if NAME in config else None
    if not isinstance(found, VotesDataset) or found._version is None:
        raise VotesError(
            f"the catalog's {NAME} is no rsidiff_kedro.datasets.VotesDataset with `versioned: true`; correct it in "
            "catalog.yml"
        )
    return found
