"""Find what runs take on disk, and which images and adapters of old runs and rounds may be deleted.

A run's artifacts are those that it made and those of earlier runs that it reused. What the newest runs need is kept,
whoever made it. Pruned artifacts keep their metadata and record, so lineage can still be read; a later run that needs
one makes it again.
"""

import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import Field

from rsidiff_kedro.core.section import Section
from rsidiff_kedro.execution.unfinished import RUN, is_in_use
from rsidiff_kedro.provenance.records import Records, chain

VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
LEFT_OVER = 86_400
"""Seconds after which the partial files of a killed run count as left over."""
RECORDS, UNFINISHED = "lineage", "unfinished"
"""Folders in `data/`."""

Artifact = tuple[str, str]
"""A dataset's name and a version of it."""


class KeepSettings(Section):
    """What `kedro rsi prune` leaves on disk.

    Attributes:
        runs: the newest finished runs whose images and adapters are kept; None for all runs.
        rounds: of these, the last rounds whose training images are kept; None for all rounds.
    """

    runs: int | None = Field(default=None, ge=1)
    rounds: int | None = Field(default=None, ge=1)


class Prunable(Protocol):
    """A versioned dataset with large files that can be deleted."""

    large_files: ClassVar[tuple[str, ...]]

    def version_folder(self, version: str) -> Path:
        """Return the folder of a version."""

    def prune(self, version: str) -> None:
        """Delete the large files of a version."""

    def has_large_files(self, version: str) -> bool:
        """Tell whether a version still has them."""


@dataclass
class RunUse:
    """What a run made and still has on disk, in bytes."""

    version: str
    state: str = "stopped"
    rounds: int = 0
    images: int = 0
    adapters: int = 0
    other: int = 0
    unfinished: int = 0


@dataclass(frozen=True)
class Deletable:
    """What may be deleted: large files of a version of a dataset or, without one, what a killed run left."""

    path: Path
    size: int
    reason: str
    dataset: Prunable | None = None

    def delete(self) -> None:
        """Delete it."""
        if self.dataset is not None:
            self.dataset.prune(self.path.parent.name)
        elif self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


class Disk:
    """A data folder.

    Args:
        data: the folder.
        datasets: those with large files, by name.
        prunable: names, without their round, of datasets that `keep.rounds` applies to.
        finals: datasets with which a run is complete.
    """

    def __init__(
        self, data: Path, datasets: Mapping[str, Prunable], prunable: Collection[str], finals: Collection[str]
    ) -> None:
        self.data, self._datasets = data, datasets
        self._finals = frozenset(finals)
        self._prunable = re.compile(rf"rsi\.round_(\d+)\.(?:{'|'.join(sorted(prunable))})")
        self.records = Records(data / RECORDS).all()

    def runs(self) -> list[RunUse]:
        """List every run that has something on disk, oldest first."""
        found: dict[str, RunUse] = {}
        for folder in self.data.glob("0*/**/*Z"):
            if VERSION.fullmatch(folder.name):
                use = found.setdefault(folder.name, RunUse(folder.name))
                kind = _kind(folder)
                setattr(use, kind, getattr(use, kind) + size_of(folder))
        for folder in self._unfinished():
            use = found.setdefault(_version(folder), RunUse(_version(folder)))
            use.unfinished += size_of(folder)
            use.state = "running" if is_in_use(folder) else use.state
        for record in self.records:
            if record.version in found:
                use = found[record.version]
                use.rounds = max([use.rounds, *map(_round, record.outputs)])
                use.state = "finished" if record.outputs.keys() & self._finals else use.state
        return [found[version] for version in sorted(found)]

    def active(self) -> list[str]:
        """List the versions of active runs."""
        return [_version(folder) for folder in self._unfinished() if folder.name.startswith(RUN) and is_in_use(folder)]

    def deletable(self, keep: KeepSettings) -> list[Deletable]:
        """List what the rules allow to delete."""
        needed, reached, oldest = self._needed(keep)
        found = [each for name in sorted(self._datasets) for each in self._of_dataset(name, needed, reached, oldest)]
        return [*found, *self._left_over(oldest)]

    def _needed(self, keep: KeepSettings) -> tuple[set[Artifact], set[Artifact], str]:
        """Return what must stay; what kept runs were made from, old rounds included; the oldest kept version."""
        finished = sorted({each.version for each in self.records if each.outputs.keys() & self._finals})
        oldest = finished[-keep.runs] if keep.runs is not None and len(finished) >= keep.runs else ""
        needed: set[Artifact] = set()
        reached: set[Artifact] = set()
        for version in sorted({record.version for record in self.records if record.version >= oldest}):
            made = [record for record in self.records if record.version == version]
            artifacts = {(name, each.version) for each in chain(self.records, *made) for name in each.outputs}
            last = max((_round(name) for name, _ in artifacts), default=0)
            old = {each for each in artifacts if keep.rounds is not None and self._is_old(each[0], last - keep.rounds)}
            needed |= artifacts - old if version in finished else artifacts
            reached |= artifacts
        return needed, reached, oldest

    def _of_dataset(self, name: str, needed: set[Artifact], reached: set[Artifact], oldest: str) -> Iterator[Deletable]:
        dataset = self._datasets[name]
        for folder in dataset.version_folder("*").parent.parent.glob("*Z/*"):
            version = folder.parent.name
            if not VERSION.fullmatch(version) or folder.name.startswith(".") or not dataset.has_large_files(version):
                continue
            if (name, version) in reached - needed:
                yield Deletable(folder, _large(dataset, folder), f"training images of an old round ({name})", dataset)
            elif (name, version) not in needed and version < oldest:
                yield Deletable(folder, _large(dataset, folder), "no run that is kept needs it", dataset)

    def _left_over(self, oldest: str) -> Iterator[Deletable]:
        keys = {record.key for record in self.records}
        for folder in self._unfinished():
            if is_in_use(folder) or folder.name.startswith(RUN):
                continue
            if folder.name.split("_")[0] in keys:
                yield Deletable(folder, size_of(folder), "unfinished work that another run has finished")
            elif _version(folder) < oldest:
                yield Deletable(folder, size_of(folder), "unfinished work of an old run")
        for path in self.data.glob("0*/**/.*.partial"):
            if time.time() - path.stat().st_mtime > LEFT_OVER:
                yield Deletable(path, size_of(path), "half-written by a run that was killed")

    def _unfinished(self) -> list[Path]:
        return [folder for folder in (self.data / UNFINISHED).glob("*_*") if folder.is_dir()]

    def _is_old(self, name: str, last: int) -> bool:
        match = self._prunable.fullmatch(name)
        return match is not None and int(match[1]) <= last


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def _large(dataset: Prunable, folder: Path) -> int:
    return sum(size_of(folder / name) for name in dataset.large_files)


def _version(folder: Path) -> str:
    return folder.name.split("_", 1)[1]


def _round(dataset: str) -> int:
    match = re.search(r"\.round_(\d+)\.", dataset)
    return int(match[1]) if match else 0


def _kind(folder: Path) -> str:
    if any(folder.glob("*/metadata.parquet")):
        return "images"
    return "adapters" if any(folder.glob("*/adapter.json")) else "other"
