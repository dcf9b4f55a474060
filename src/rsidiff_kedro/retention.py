"""What runs take on disk, and which images and adapters of old runs and rounds can go.

A run's artefacts are those that it made and those of earlier runs that it went on from; what the newest runs stand on
is kept whoever made it. What is pruned keeps its metadata and its record, so that lineage can still be read; a later
run that needs it makes it again.
"""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kedro.io import DataCatalog, DatasetNotFoundError

from rsidiff_kedro.configuration import open_configuration
from rsidiff_kedro.datasets.folder import PRUNED, FolderDataset
from rsidiff_kedro.hooks.lineage import UNFINISHED, open_records
from rsidiff_kedro.lineage.records import chain
from rsidiff_kedro.lineage.unfinished import RUN, is_in_use
from rsidiff_kedro.parameters import KeepSettings

VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
FINISHED = frozenset({"report", "sft.round_1.metrics", "base_model.proxy_metrics"})
"""A run that made one of these came to its end."""
TRAINING_IMAGES = re.compile(r"rsi\.round_(\d+)\.(?:images|validation_images|training_set)")
BASE_IMAGES = "rsi.round_1.images"
"""Drawn by the base model: every round may weigh by them."""
LEFT_OVER = 86_400
"""Seconds after which the partial files of a killed run are taken for left over."""


Artefact = tuple[str, str]
"""A dataset's name and a version of it."""


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
class Prunable:
    """What can go: large files of a version of a dataset, or, without a dataset, what a killed run left."""

    path: Path
    size: int
    reason: str
    dataset: FolderDataset | None = None

    def delete(self) -> None:
        """Delete it."""
        if self.dataset is not None:
            self.dataset.prune(self.path.parent.name)
        elif self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)


class Disk:
    """The data of the project in the working directory, under an environment."""

    def __init__(self, env: str | None = None) -> None:
        root, loader = open_configuration(env)
        self.data = root / loader["globals"]["data"]
        self.records = list(open_records(env).all())
        self._store = open_records(env)
        own = {name: each for name, each in loader["catalog"].items() if each["type"].startswith("rsidiff_kedro.")}
        absolute = {name: each | {"filepath": (root / each["filepath"]).as_posix()} for name, each in own.items()}
        self._catalog = DataCatalog.from_config(absolute)

    def runs(self) -> list[RunUse]:
        """Every run that has something on disk, oldest first."""
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
                use.state = "finished" if record.outputs.keys() & FINISHED else use.state
        return [found[version] for version in sorted(found)]

    def active(self) -> list[str]:
        """The versions of runs that are going on."""
        return [_version(folder) for folder in self._unfinished() if folder.name.startswith(RUN) and is_in_use(folder)]

    def prunable(self, keep: KeepSettings) -> list[Prunable]:
        """What the rules let go."""
        needed, stood_on, oldest = self._needed(keep)
        names = sorted({name for record in self.records for name in record.outputs})
        found = [each for name in names for each in self._of_dataset(name, needed, stood_on, oldest)]
        return [*found, *self._left_over(oldest)]

    def _needed(self, keep: KeepSettings) -> tuple[set[Artefact], set[Artefact], str]:
        """What must stay; what kept runs stand on, their old rounds included; the oldest version of a kept run."""
        finished = sorted({each.version for each in self.records if each.outputs.keys() & FINISHED})
        oldest = finished[-keep.runs] if keep.runs is not None and len(finished) >= keep.runs else ""
        needed: set[Artefact] = set()
        stood_on: set[Artefact] = set()
        for version in sorted({record.version for record in self.records if record.version >= oldest}):
            made = [record for record in self.records if record.version == version]
            chains = {each.key: each for record in made for each in chain(self._store, record)}
            artefacts = {(name, each.version) for each in chains.values() for name in each.outputs}
            last = max((_round(name) for name, _ in artefacts), default=0)
            old = {each for each in artefacts if keep.rounds is not None and _is_old(each[0], last - keep.rounds)}
            needed |= artefacts - old if version in finished else artefacts
            stood_on |= artefacts
        return needed, stood_on, oldest

    def _of_dataset(self, name: str, needed: set[Artefact], stood_on: set[Artefact], oldest: str) -> Iterator[Prunable]:
        try:
            dataset = self._catalog.get(name)
        except DatasetNotFoundError:
            return
        if not isinstance(dataset, FolderDataset) or not dataset.large_files:
            return
        for folder in dataset.version_folder("*").parent.parent.glob("*Z/*"):
            version = folder.parent.name
            if not VERSION.fullmatch(version) or folder.name.startswith(".") or (folder / PRUNED).exists():
                continue
            if (name, version) in stood_on - needed:
                yield Prunable(folder, _large(dataset, folder), f"training images of an old round ({name})", dataset)
            elif (name, version) not in needed and version < oldest:
                yield Prunable(folder, _large(dataset, folder), "no run that is kept stands on it", dataset)

    def _left_over(self, oldest: str) -> Iterator[Prunable]:
        keys = {record.key for record in self.records}
        for folder in self._unfinished():
            if is_in_use(folder) or folder.name.startswith(RUN):
                continue
            if folder.name.split("_")[0] in keys:
                yield Prunable(folder, size_of(folder), "unfinished work on what another run has finished")
            elif _version(folder) < oldest:
                yield Prunable(folder, size_of(folder), "unfinished work of an old run")
        for path in self.data.glob("0*/**/.*.partial"):
            if time.time() - path.stat().st_mtime > LEFT_OVER:
                yield Prunable(path, size_of(path), "half-written by a run that was killed")

    def _unfinished(self) -> list[Path]:
        return [folder for folder in (self.data / UNFINISHED).glob("*_*") if folder.is_dir()]


def _is_old(name: str, last: int) -> bool:
    match = TRAINING_IMAGES.fullmatch(name)
    return match is not None and name != BASE_IMAGES and int(match[1]) <= last


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def _large(dataset: FolderDataset, folder: Path) -> int:
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
