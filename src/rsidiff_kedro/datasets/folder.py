"""Define the base class of the project's datasets: a folder of files that appears whole or not at all."""

import glob
import os
import shutil
from abc import abstractmethod
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Generic, TypeVar

from kedro.io import AbstractVersionedDataset, DatasetError
from kedro.io.core import Version, get_protocol_and_path

from rsidiff_kedro.core.files import age, delete, partial_path
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.provenance.content_digest import PRUNED

T = TypeVar("T")


class FolderError(DatasetError):
    """A folder cannot be saved or loaded; the message is one line, whatever it quotes of a damaged file."""

    def __str__(self) -> str:
        return printable(super().__str__())


class LocalVersions:
    """Mixin for a dataset on a local disk: find its versions below a folder whose name holds `[`, `*` or `?`, too."""

    own_files: ClassVar[tuple[str, ...]] = ("*",)
    """Patterns of the names of files that a copy without versions has in its folder; other files there are foreign."""

    @classmethod
    def _local_path(cls, filepath: str | os.PathLike[str], content: str, version: Version | None) -> str:
        """Return the path of a filepath; raise FolderError if it is no local one."""
        protocol, path = get_protocol_and_path(filepath, version)
        if protocol != "file":
            raise FolderError(
                f"{cls.__name__} keeps {content} on a local or mounted disk, but its filepath is {filepath}; "
                "give a path without a protocol"
            )
        return path

    def _get_versions(self) -> list[str]:
        found = versions_in(Path(self._filepath))  # type: ignore[attr-defined]
        return list(map(str, sorted(found, key=lambda each: age(each.parent.name), reverse=True)))


def versions_in(place: Path) -> list[Path]:
    """Return all versions of the data of a local path, in no order."""
    return [*place.glob(f"*/{glob.escape(place.name)}")]


class FolderDataset(LocalVersions, AbstractVersionedDataset[T, T], Generic[T]):
    """A local folder, versioned or not, written under a temporary name in the same folder and then renamed."""

    large_files: ClassVar[tuple[str, ...]] = ()
    """Names in the folder that `prune` may delete; the files that say how they were made stay."""

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(PurePosixPath(self._local_path(filepath, "a folder", version)), version)
        self.metadata = metadata

    @abstractmethod
    def _write(self, data: T, folder: Path) -> None:
        """Write the data's files into an empty folder."""

    @abstractmethod
    def _read(self, folder: Path) -> T:
        """Read what `_write` wrote; raise FolderError if a part is missing or damaged."""

    def save(self, data: T) -> None:
        target = Path(self._get_save_path())
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_path(target)
        partial.mkdir()
        try:
            self._write(data, partial)
            if target.exists():
                # Only without versioning. A rename cannot replace a folder, so move the old one aside first.
                self._check_replaceable(target, partial)
                replaced = partial.with_suffix(".replaced")
                target.rename(replaced)
                partial.rename(target)
                shutil.rmtree(replaced)
            else:
                partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _check_replaceable(self, old: Path, new: Path) -> None:
        """Raise FolderError if the old folder holds anything that no copy of this dataset does, such as versions."""
        own = {*os.listdir(new), *self.large_files, PRUNED}
        others = sorted(name for name in os.listdir(old) if name not in own and not name.startswith("."))
        if others:
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            raise FolderError(
                f"{old} holds {others[0]}{more}, which {type(self).__name__} did not write there without versions, and "
                "saving would delete it; set `versioned: true` in catalog.yml if these are versions, or give another "
                "filepath"
            )

    def load(self) -> T:
        folder = self._load_folder()
        if self.is_pruned():
            raise FolderError(
                f"{folder} was pruned; a run of all stages with --only-missing-outputs makes it again if need be"
            )
        return self._read(folder)

    def is_pruned(self) -> bool:
        """Tell whether the version that would be loaded has lost its large files to `prune`."""
        return self._is_pruned(Path(self._get_load_path()))

    def version_is_pruned(self, version: str) -> bool:
        """Tell whether a version has lost its large files to `prune`."""
        return self._is_pruned(self.version_folder(version))

    def _is_pruned(self, folder: Path) -> bool:
        """Tell it from the mark, which counts only where no large file is left."""
        return (folder / PRUNED).exists() and not any((folder / name).exists() for name in self.large_files)

    def version_folder(self, version: str) -> Path:
        """Return the folder of a version."""
        return Path(self._get_versioned_path(version))

    def prune(self, version: str) -> None:
        """Delete the large files of a version, then mark it with an empty file, which a full disk has room for."""
        folder = self.version_folder(version)
        for name in self.large_files:
            delete(folder / name)
        (folder / PRUNED).touch()

    def _load_folder(self) -> Path:
        if not self._exists():
            raise FolderError(
                f"there is no folder {self._get_load_path()}; run the node that makes it, or load another version "
                "with --load-versions"
            )
        return Path(self._get_load_path())

    def _exists(self) -> bool:
        return Path(self._get_load_path()).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath, "version": self._version}


def require_file(path: Path, content: str) -> Path:
    """Return the path of a file; raise FolderError if it is missing, with its content and advice in the message."""
    if not path.is_file():
        raise FolderError(
            f"{path.parent} lacks {path.name} ({content}): it was damaged after it was saved; make it anew"
        )
    return path
