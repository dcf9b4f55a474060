"""Records of what made which version of which datasets, a JSON file a step and key, and what differs between two."""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

_KEY = re.compile(r"[0-9a-f]{16}")
INPUT = "its input"
"""How a difference that follows from another begins."""


class Record(BaseModel):
    """How a step made its outputs.

    Attributes:
        step: the node's name.
        version: of all its outputs; a folder's name, so that it leads nowhere else.
        outputs: digests of the content by dataset; empty until it is saved.
        code: digest of the step's module and of what it imports.
        assets: digest of the networks that come with the package.
        libraries: versions of what computes.
        parameters: what the step read, by path.
        inputs: for each dataset that it read the key of what made it.
        device: of the model, for information: it is no part of the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}$")]
    outputs: dict[str, str]
    code: str
    assets: str
    libraries: dict[str, str]
    parameters: dict[str, Any]
    inputs: dict[str, str]
    device: str = ""

    @property
    def key(self) -> str:
        """16 hex digits of what determines the outputs."""
        parts = self.model_dump(mode="json", exclude={"version", "device"}) | {"outputs": sorted(self.outputs)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class Records:
    """A folder of records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> Record | None:
        """The newest record with this key; None if there is none that can be read."""
        return next(iter(self.versions(key)), None)

    def versions(self, key: str) -> list[Record]:
        """All records with this key, the newest version first."""
        if not _KEY.fullmatch(key):
            return []
        found = (_read(path) for path in sorted(self.folder.glob(f"{key}_*.json"), reverse=True))
        return [record for record in found if record is not None]

    def write(self, record: Record) -> None:
        """Keep a record."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{uuid.uuid4().hex[:8]}.partial"
        partial.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self.folder / f"{_name(record)}.json")

    def all(self) -> Iterator[Record]:
        """Every record, those of the oldest versions first."""
        found = (_read(path) for path in self.folder.glob("*.json"))
        yield from sorted((record for record in found if record is not None), key=lambda record: record.version)

    def maker(self, dataset: str, version: str) -> Record | None:
        """What made this version of a dataset."""
        return next((each for each in self.all() if each.version == version and dataset in each.outputs), None)


def _name(record: Record) -> str:
    return f"{record.key}_{record.version}"


def _read(path: Path) -> Record | None:
    try:
        record = Record.model_validate_json(path.read_text(encoding="utf-8"))
        return record if _name(record) == path.stem else None  # else it lies in the place of another
    except (OSError, ValueError, RecursionError):  # not there, or cut: as good as none
        return None


def differences(old: Record, new: Record) -> list[str]:
    """Why `new` is not `old`, in words; inputs come last."""
    found = []
    if old.code != new.code:
        found.append("its code changed")
    if old.assets != new.assets:
        found.append("the networks that come with the package changed")
    found += [
        f"{name} is {new.libraries.get(name)}, was {old.libraries.get(name)}"
        for name in sorted(old.libraries.keys() | new.libraries.keys())
        if old.libraries.get(name) != new.libraries.get(name)
    ]
    before, now = flat(old.parameters), flat(new.parameters)
    found += [
        f"{name} is {now.get(name)}, was {before.get(name)}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    found += [
        f"{INPUT} {name} is another"
        for name in sorted(old.inputs.keys() | new.inputs.keys())
        if old.inputs.get(name) != new.inputs.get(name)
    ]
    return found


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping by paths with dots."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result


def chain(records: Records, record: Record) -> list[Record]:
    """A record and those of all that it was made from, back to the prompts; each once, what came last first."""
    found: dict[str, Record] = {}
    waiting = [record]
    while waiting:
        each = waiting.pop(0)
        if each.key not in found:
            found[each.key] = each
            waiting += [origin for key in each.inputs.values() if (origin := records.find(key)) is not None]
    return list(found.values())
