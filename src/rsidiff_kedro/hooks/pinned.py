"""Refuse what would make records vouch for other data than a step has read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.datasets.folder import versions_in

_SHOWN = 3


class LoadVersionError(InputError):
    """`--load-versions` names a dataset that the run does not read from an earlier one."""


class UnversionedError(InputError):
    """Data without versions would be taken for those of this run, or lie where versions lie."""


class SharedPlaceError(InputError):
    """Two outputs have one place on disk."""


def check_load_versions(load_versions: Mapping[str, str], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Raise LoadVersionError unless each named dataset is an input of the pipeline that runs, and has that version."""
    for name, version in load_versions.items():
        if name in pipeline.all_outputs():
            raise LoadVersionError(
                f"--load-versions names {name!r}, which this run makes itself; to read that version, run a part that "
                f"only reads it (--from-inputs={name}, or --pipelines, --nodes), or leave it out"
            )
        if name not in pipeline.inputs():
            raise LoadVersionError(
                f"--load-versions names {name!r}, which no step of this run reads; give a dataset that it reads, or "
                "leave it out"
            )
        dataset = catalog.get(name)
        if dataset is None or not _has_versions(dataset):
            raise LoadVersionError(
                f"--load-versions names {name!r}, which has no versions, so what lies there would be read instead; set "
                "`versioned: true` in catalog.yml, or leave it out"
            )
        if not dataset.exists():
            found = sorted(each.parent.name for each in versions_in(Path(dataset._filepath)))
            raise LoadVersionError(
                f"{name} has no version {version!r}; --load-versions takes a folder's name below it, and "
                f"{f'the newest of {len(found)} is {found[-1]}' if found else 'there is none'}"
            )


def check_unversioned(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Raise UnversionedError if outputs without versions exist: Kedro's runner skips their steps unseen."""
    found = [name for name in sorted(pipeline.all_outputs()) if _is_there_unversioned(name, catalog)]
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise UnversionedError(
            f"{', '.join(found[:_SHOWN])}{more} without versions may be of other parameters, and Kedro's own session "
            "would not make them again; run `kedro run`, set `versioned: true` in catalog.yml, or leave "
            "only_missing_outputs out"
        )


def check_hidden_versions(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Raise UnversionedError if versions lie where a dataset without versions belongs, or the reverse."""
    for name in sorted(each for each in pipeline.datasets() if each in catalog and not is_parameter(each)):
        dataset = catalog.get(name)
        place = getattr(dataset, "_filepath", None)
        if place is None or getattr(dataset, "_protocol", "file") != "file":
            continue
        if _has_versions(dataset):
            copy = _plain_copy(dataset, Path(place))
            if copy is not None:
                raise UnversionedError(
                    f"{name} has versions in catalog.yml, but a copy without versions lies there, {copy}; move that "
                    "away, set `versioned: false` for it, or give it another filepath"
                )
            continue
        found = versions_in(Path(place))
        if found:
            versions = "1 version" if len(found) == 1 else f"{len(found)} versions"
            raise UnversionedError(
                f"{name} has no versions in catalog.yml, but {versions} of it lie in {place}; set `versioned: true` "
                "for it, or give it another filepath"
            )


def _plain_copy(dataset: Any, place: Path) -> Path | None:
    """Return the first file of a copy without versions at a dataset's place, None if only versions or others lie there.

    Of a dataset that does not name its files, any visible file is one, unless there are versions.
    """
    if not place.is_dir():
        return place if place.exists() else None
    own = getattr(dataset, "own_files", ("*",))
    if own == ("*",) and versions_in(place):
        return None
    visible = sorted(each for each in place.iterdir() if each.is_file() and not each.name.startswith("."))
    return next((each for each in visible if any(map(each.match, own))), None)


def check_places(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Raise SharedPlaceError if two outputs lie in one file or folder, where the one would replace the other."""
    names: dict[str, str] = {}
    for name in sorted(each for each in pipeline.all_outputs() if each in catalog):
        place = getattr(catalog.get(name), "_filepath", None)
        if place is not None and names.setdefault(str(place), name) != name:
            raise SharedPlaceError(
                f"{names[str(place)]} and {name} have one filepath in catalog.yml, {place}; give each its own, with "
                "{n} in it where a pattern stands for several rounds"
            )


def _is_there_unversioned(name: str, catalog: CatalogProtocol) -> bool:
    dataset = catalog.get(name) if name in catalog else None
    if dataset is None or dataset._EPHEMERAL:
        return False
    return not _has_versions(dataset) and bool(dataset.exists())


def _has_versions(dataset: Any) -> bool:
    return isinstance(dataset, AbstractVersionedDataset) and dataset._version is not None
