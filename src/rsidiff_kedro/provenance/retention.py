"""Find what runs take on disk, and which images and adapters of old runs and rounds may be deleted.

A run needs the artifacts that it made and those of earlier runs that it reused. Prune keeps what the newest runs need,
whichever run made it. Pruned artifacts keep their metadata and record; a later run that needs one makes it again.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import Field

from rsidiff_kedro.core.files import delete, size_of
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.execution.unfinished import RUN, is_in_use
from rsidiff_kedro.provenance.records import Records, chain

VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
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
    """State of a run, and the bytes on disk of its images, adapters, other files and unfinished work."""

    version: str
    state: str = "stopped"
    rounds: int = 0
    sizes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Deletable:
    """Files that may be deleted: the large files of a dataset's version or, without a dataset, all of `path`."""

    path: Path
    size: int
    reason: str
    dataset: Prunable | None = None

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
        """List every run that has something on disk, or only reused what others made, oldest first."""
        found: dict[str, RunUse] = {}
        for folder in self.data.glob("0*/**/*Z"):
            if VERSION.fullmatch(folder.name):
                found.setdefault(folder.name, RunUse(folder.name)).sizes[_kind(folder)] += size_of(folder)
        for folder in self._unfinished():
            use = found.setdefault(_version(folder), RunUse(_version(folder)))
            use.sizes["unfinished"] += size_of(folder)
            use.state = "running" if is_in_use(folder) else use.state
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

    def active(self) -> list[str]:
        """List the versions of active runs."""
        return [_version(folder) for folder in self._unfinished() if folder.name.startswith(RUN) and is_in_use(folder)]

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
        return [*found, *self._left_over(oldest)]

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
            size = sum(size_of(folder / file) for file in dataset.large_files)
            is_version = VERSION.fullmatch(version) and not folder.name.startswith(".")
            if not is_version or dataset.version_is_pruned(version):
                continue
            if (name, version) in reached - needed:
                yield Deletable(folder, size, f"training images of an old round ({name})", dataset)
            elif (name, version) not in needed and version < oldest:
                yield Deletable(folder, size, "no run that is kept needs it", dataset)

    def _left_over(self, oldest: str) -> Iterator[Deletable]:
        keys = {record.key for record in self._records}
        for folder in self._unfinished():
            if is_in_use(folder) or folder.name.startswith(RUN):
                continue
            if folder.name.split("_")[0] in keys:
                yield Deletable(folder, size_of(folder), "unfinished work that another run has finished")
            elif _version(folder) < oldest:
                yield Deletable(folder, size_of(folder), "unfinished work of an old run")
        for path in self.data.glob("0*/**/.*.partial"):
            with suppress(FileNotFoundError):  # a run has given it its name since
                if time.time() - path.stat().st_mtime > LEFT_OVER:
                    yield Deletable(path, size_of(path), "half-written by a run that was killed")

    def _unfinished(self) -> list[Path]:
        return [folder for folder in (self.data / UNFINISHED).glob("*_*") if folder.is_dir()]


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
