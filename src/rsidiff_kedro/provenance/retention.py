"""Find what runs take on disk, and which images and adapters of old runs and rounds may be deleted.

A run needs the artifacts that it made and those of earlier runs that it reused. Prune keeps what the newest runs need,
whichever run made it. Pruned artifacts keep their metadata and record; a later run that needs one makes it again.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import Field

from rsidiff_kedro.core.file_lock import held_by, marked_by
from rsidiff_kedro.core.files import VERSION, FileId, delete, files_of, size_of
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.execution.unfinished import LOCK_NAME, RUN, is_in_use
from rsidiff_kedro.provenance.records import Records, chain

LEFT_OVER = 86_400
"""Seconds after which the partial files of a killed run count as left over."""
RECORDS, UNFINISHED = "lineage", "unfinished"
"""Folders in `data/`."""
_Artifacts = set[tuple[str, str]]  # names of datasets, with a version


class KeepSettings(Section):
    """Rules of `kedro rsi prune`.

    Attributes:
        runs: the newest finished runs whose images and adapters are kept; None for all runs.
        rounds: the last rounds of each kept run whose training images are kept; None for all rounds.
    """

    runs: int | None = Field(default=None, ge=1)
    rounds: int | None = Field(default=None, ge=1)


@runtime_checkable
class Prunable(Protocol):
    """A versioned dataset with large files that can be deleted."""

    large_files: ClassVar[tuple[str, ...]]

    def version_folder(self, version: str) -> Path:
        """Return the folder of a version."""

    def version_is_pruned(self, version: str) -> bool:
        """Tell whether the large files of a version were deleted."""

    def prune(self, version: str) -> None:
        """Delete the large files of a version."""


@dataclass
class RunUse:
    """State of a run, and the bytes on disk of its images, adapters, other files and unfinished work.

    `doubts` names each lock's marker that makes it "running"; a run that was killed may have left the marker.
    """

    version: str
    state: str = "stopped"
    rounds: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Deletable:
    """Files that may be deleted: the large files of a dataset's version or, without a dataset, all of `path`.

    `size` is what this frees once all that is listed before it is deleted, too.
    """

    path: Path
    reason: str
    dataset: Prunable | None = None
    size: int = 0

    @property
    def parts(self) -> list[Path]:
        """Return the files and folders that go."""
        return [self.path / name for name in self.dataset.large_files] if self.dataset is not None else [self.path]

    def delete(self) -> None:
        """Delete the files."""
        if self.dataset is not None:
            self.dataset.prune(self.path.parent.name)
        else:
            delete(self.path)


class Disk:
    """A data folder.

    Args:
        data: the folder.
        finals: datasets that complete a run.
    """

    def __init__(self, data: Path, finals: Collection[str]) -> None:
        self.data = data
        records = Records(data / RECORDS)
        self._records = records.all()
        self._used: dict[str, Mapping[str, str]] = records.ended()
        versions = {each.version for each in self._records if each.outputs.keys() & {*finals}}
        self._finished = versions | {version for version, used in self._used.items() if used.keys() & {*finals}}

    def runs(self) -> list[RunUse]:
        """List every run that has something on disk, or only reused what others made, oldest first.

        A file that several runs have, each under a name of its own, counts for the oldest.
        """
        found: dict[str, RunUse] = {}
        counted: set[FileId] = set()
        for folder in sorted(self._below(VERSION.fullmatch), key=lambda each: (each.name, each)):
            found.setdefault(folder.name, RunUse(folder.name)).sizes[_kind(folder)] += size_of(folder, counted)
        for folder in self._unfinished():
            use = found.setdefault(_version(folder), RunUse(_version(folder)))
            use.sizes["unfinished"] += size_of(folder, counted)
            if is_in_use(folder):
                use.state = "running"
                use.doubts += filter(None, [marked_by(folder / LOCK_NAME)])
        outputs = [(record.version, record.outputs) for record in self._records]
        made = {version for version, _ in outputs}
        for version in self._used.keys() - made:  # it only reused, and has nothing of its own on disk
            found.setdefault(version, RunUse(version))
        for version, names in (*outputs, *self._used.items()):
            if version in found:
                use = found[version]
                use.rounds = max([use.rounds, *map(_round, names)])
                use.state = "finished" if version in self._finished else use.state
        return [found[version] for version in sorted(found)]

    def active(self) -> dict[str, str]:
        """Return who makes each active run, by its version."""
        marks = [folder for folder in self._unfinished() if folder.name.startswith(RUN) and is_in_use(folder)]
        return {_version(folder): held_by(folder / LOCK_NAME) for folder in marks}

    def deletable(
        self, keep: KeepSettings, find: Callable[[str], object], prunable: Collection[str]
    ) -> list[Deletable]:
        """List what the rules allow to delete.

        Args:
            keep: the rules.
            find: returns the dataset of a name, if there is one.
            prunable: names, without their round, of datasets that `keep.rounds` applies to.
        """
        needed, reached, oldest = self._needed(keep, re.compile(rf"rsi\.round_(\d+)\.(?:{'|'.join(sorted(prunable))})"))
        found: list[Deletable] = []
        for name in sorted({name for record in self._records for name in record.outputs}):
            dataset = find(name)
            if isinstance(dataset, Prunable) and dataset.large_files:
                found += self._of_dataset(name, dataset, needed, reached, oldest)
        return _with_sizes([*found, *self._left_over(oldest)])

    def _needed(self, keep: KeepSettings, prunable: re.Pattern[str]) -> tuple[_Artifacts, _Artifacts, str]:
        """Return what must stay; what kept runs were made from, old rounds included; the oldest kept version."""
        versions = sorted({record.version for record in self._records} | self._used.keys())
        finished = [version for version in versions if version in self._finished]
        oldest = finished[-keep.runs] if keep.runs is not None and len(finished) >= keep.runs else ""
        needed: _Artifacts = set()
        reached: _Artifacts = set()
        for version in (each for each in versions if each >= oldest):
            used = self._used.get(version, {}).items()
            made = [
                record
                for record in self._records
                if record.version == version or any((name, record.version) in used for name in record.outputs)
            ]
            artifacts = {(name, each.version) for each in chain(self._records, *made) for name in each.outputs}
            last = max((_round(name) for name, _ in artifacts), default=0)
            old = {
                each for each in artifacts if keep.rounds is not None and _is_old(each[0], prunable, last - keep.rounds)
            }
            needed |= artifacts - old if version in finished else artifacts
            reached |= artifacts
        return needed, reached, oldest

    def _of_dataset(
        self, name: str, dataset: Prunable, needed: _Artifacts, reached: _Artifacts, oldest: str
    ) -> Iterator[Deletable]:
        for folder in dataset.version_folder("*").parent.parent.glob("*Z/*"):
            version = folder.parent.name
            is_version = VERSION.fullmatch(version) and not folder.name.startswith(".")
            if not is_version or dataset.version_is_pruned(version):
                continue
            if (name, version) in reached - needed:
                yield Deletable(folder, f"of an old round ({name})", dataset)
            elif (name, version) not in needed and version < oldest:
                yield Deletable(folder, "no run that is kept needs it", dataset)

    def _left_over(self, oldest: str) -> Iterator[Deletable]:
        keys = {record.key for record in self._records}
        for folder in self._unfinished():
            if is_in_use(folder) or folder.name.startswith(RUN):
                continue
            if folder.name.split("_")[0] in keys:
                yield Deletable(folder, "unfinished work that another run has finished")
            elif _version(folder) < oldest:
                yield Deletable(folder, "unfinished work of an old run")
        for path in self._below(re.compile(r"\..*\.partial").fullmatch):
            with suppress(FileNotFoundError):  # a run has given it its name since
                if time.time() - path.stat().st_mtime > LEFT_OVER:
                    yield Deletable(path, "half-written by a run that was killed")

    def _below(self, wanted: Callable[[str], object]) -> Iterator[Path]:
        """Yield the files and folders of the datasets whose name is wanted; folders may vanish meanwhile."""
        for layer in self.data.glob("0*"):
            for folder, folders, files in os.walk(layer):
                yield from (Path(folder, name) for name in (*folders, *files) if wanted(name))

    def _unfinished(self) -> list[Path]:
        return [folder for folder in (self.data / UNFINISHED).glob("*_*") if folder.is_dir()]


def _with_sizes(found: list[Deletable]) -> list[Deletable]:
    """Set the sizes; a file with several names is freed by what has the last of them, and only if all of them go."""
    names = Counter[FileId]()
    sized: list[Deletable] = []
    for each in found:
        size = 0
        for file, state in (file for part in each.parts for file in files_of(part)):
            names[file] += 1
            size += state.st_size if names[file] == state.st_nlink else 0
        sized.append(replace(each, size=size))
    return sized


def _version(folder: Path) -> str:
    return folder.name.split("_", 1)[1]


def _is_old(name: str, prunable: re.Pattern[str], last: int) -> bool:
    match = prunable.fullmatch(name)
    return match is not None and int(match[1]) <= last


def _round(dataset: str) -> int:
    match = re.search(r"\.round_(\d+)\.", dataset)
    return int(match[1]) if match else 0


def _kind(folder: Path) -> str:
    if any(folder.glob("*/metadata.parquet")):
        return "images"
    return "adapters" if any(folder.glob("*/adapter.json")) else "other"
