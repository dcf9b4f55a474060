"""Records of what made which version of which datasets: one JSON file per step and key."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.core.section import Section

_KEY = re.compile(r"[0-9a-f]{16}")
INPUT = "its input"
"""The first words of a difference that follows from another."""


class Record(Section):
    """How a step made its outputs.

    Attributes:
        step: the node's name.
        version: of all its outputs; it names a folder, so it can lead nowhere else.
        outputs: digests of their content by dataset; empty until they are saved.
        code: digest of the code that the step calls.
        assets: digest of the networks that come with the package.
        libraries: versions of the libraries that compute.
        parameters: what the step read, by path.
        inputs: digests of the content of the datasets that it read.
        origins: the versions of these datasets; no part of the key.
        device: of the model; no part of the key.
    """

    step: str
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}$")]
    outputs: dict[str, str]
    code: str
    assets: str
    libraries: dict[str, str]
    parameters: dict[str, Any]
    inputs: dict[str, str]
    origins: dict[str, str] = Field(default={})
    device: str = ""

    @property
    def key(self) -> str:
        """Return 16 hex digits of what determines the outputs."""
        parts = self.model_dump(mode="json", exclude={"version", "origins", "device"})
        parts["outputs"] = sorted(self.outputs)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Records:
    """A folder of records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read_before: dict[str, Record] = {}

    def versions(self, key: str) -> list[Record]:
        """Return all records with this key, the newest version first."""
        if not _KEY.fullmatch(key):
            return []
        found = (self._read(path) for path in sorted(self.folder.glob(f"{key}_*.json"), reverse=True))
        return [record for record in found if record is not None]

    def write(self, record: Record) -> None:
        """Keep a record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{_name(record)}.json"
        with replacing(path) as partial:
            partial.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        self._read_before[path.stem] = record

    def all(self) -> list[Record]:
        """Return every record, those of the oldest versions first."""
        found = (self._read(path) for path in self.folder.glob("*.json"))
        return sorted((record for record in found if record is not None), key=lambda record: record.version)

    def _read(self, path: Path) -> Record | None:
        """Read a record; None if it is not there, damaged, or in the place of another."""
        if path.stem not in self._read_before:
            try:
                record = Record.model_validate_json(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                return None
            if _name(record) != path.stem:
                return None
            self._read_before[path.stem] = record
        return self._read_before[path.stem]


def _name(record: Record) -> str:
    return f"{record.key}_{record.version}"


def differences(old: Record, new: Record) -> Iterator[str]:
    """Say in words why `new` is not `old`; inputs come last."""
    if old.code != new.code:
        yield "its code changed"
    if old.assets != new.assets:
        yield "the networks that come with the package changed"
    yield from _changes(old.libraries, new.libraries)
    yield from _changes(flat(old.parameters), flat(new.parameters))
    for name in sorted(old.inputs.keys() | new.inputs.keys()):
        if old.inputs.get(name) != new.inputs.get(name):
            yield f"{INPUT} {name} is different"


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield f"{name} is {new.get(name)}, was {old.get(name)}"


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping by paths with dots."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


def chain(records: list[Record], *ends: Record) -> list[Record]:
    """Return records and those of all that they were made from, back to the prompts; the last steps come first."""
    makers = {(name, each.version): each for each in records for name in each.outputs}
    found: dict[tuple[str, str], Record] = {}
    waiting = list(ends)
    while waiting:
        each = waiting.pop(0)
        if (each.key, each.version) not in found:
            found[each.key, each.version] = each
            waiting += [makers[origin] for origin in each.origins.items() if origin in makers]
    return list(found.values())
