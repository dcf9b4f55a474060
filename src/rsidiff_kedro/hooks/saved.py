"""Find what earlier runs saved: its versions, its content, and whether it is still what a record says."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, CatalogProtocol, DataCatalog
from kedro.io.core import Version

from rsidiff_kedro.datasets.folder import FolderDataset
from rsidiff_kedro.provenance.content_digest import content_digest
from rsidiff_kedro.provenance.records import Record

MADE_BY = "made by "
"""Begins what stands for the content of an output that has no digest; the key of its step follows."""


class Saved:
    """The datasets of a catalog as a run reads them.

    Args:
        catalog: of the run.
        run_id: the version of what the run saves.
        named: datasets whose version `--load-versions` names; nothing reads them in another one.
    """

    def __init__(
        self, catalog: CatalogProtocol | None = None, run_id: str = "", named: Collection[str] = frozenset()
    ) -> None:
        self.catalog = DataCatalog({}) if catalog is None else catalog
        self._run_id, self._named = run_id, named
        self._checked: dict[tuple[str, str], str] = {}

    def dataset(self, name: str) -> AbstractVersionedDataset[Any, Any] | None:
        """Return a dataset that may have versions, None for any other."""
        dataset = self.catalog.get(name)
        return dataset if isinstance(dataset, AbstractVersionedDataset) else None

    def pin(self, names: Iterable[str], version: str | None) -> None:
        """Have datasets loaded in a version, None for the newest, and saved in this run's; not those that are named."""
        for name in names:
            dataset = self.dataset(name)
            if dataset is not None and dataset._version is not None and name not in self._named:
                dataset._version = Version(version, self._run_id)
                dataset._clear_version_cache()

    def content(self, name: str) -> str:
        """Return the digest of what would be loaded; empty if no file or folder on this machine's disk holds it.

        So it is with a table of a database, with what lies in a bucket, and where a class saves beside its path.
        """
        dataset = self.dataset(name)
        if dataset is None or getattr(dataset, "_protocol", "file") != "file":
            return ""
        path = Path(dataset._get_load_path())
        return content_digest(path) if path.exists() else ""

    def found(self, name: str) -> tuple[str, str]:
        """Return the digest and version of what would be loaded."""
        dataset, unknown = self.dataset(name), f"unknown, read by {self._run_id}"  # nothing made of it is reused
        if dataset is None or (dataset._version is not None and not dataset.exists()):
            return unknown, ""
        version = str(dataset.resolve_load_version() or "")
        if self.is_pruned(name):
            return "pruned", version
        return self.content(name) or unknown, version

    def exists(self, name: str, version: str) -> bool:
        """Tell whether a dataset has a version, in which it is then read unless another one is named."""
        dataset = self.dataset(name)
        if dataset is None or dataset._version is None:
            return False
        self.pin([name], version)
        return bool(dataset.exists())

    def is_pruned(self, name: str) -> bool:
        """Tell whether `prune` has deleted the files of what would be loaded."""
        dataset = self.dataset(name)
        return isinstance(dataset, FolderDataset) and dataset.is_pruned()

    def problem(self, name: str, made: Record) -> str:
        """Say what is wrong with an output on disk, in the version of a record; nothing if it is sound, or named."""
        dataset = self.dataset(name)
        if dataset is None or dataset._version is None:
            return f"{name} is not versioned, and not reused"
        if name in self._named:
            return ""
        self.pin([name], made.version)
        if not dataset.exists():
            return f"{name} is gone"
        if self.is_pruned(name):
            return ""
        if (name, made.version) not in self._checked:
            self._checked[name, made.version] = self.content(name)
        content = self._checked[name, made.version]
        if not content:
            return f"{name} has no file at its path on this machine's disk, and is not reused"
        return "" if content == made.outputs[name] else f"{name} is damaged: it is not what was saved"
