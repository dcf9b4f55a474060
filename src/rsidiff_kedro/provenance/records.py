"""Record what made which version of which datasets: one JSON file per step and key."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field, StringConstraints, TypeAdapter

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.core.section import Section

_KEY = re.compile(r"[0-9a-f]{16}")
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:+-]{0,99}$")]
"""Of a dataset: a name of a folder, without separators."""
_VERSIONS = TypeAdapter(dict[str, str])
INPUT = "its input"
"""The first words of a difference that follows from another."""


class Record(Section):
    """Record of how a step made its outputs.

    Attributes:
        step: the node's name.
        version: of all its outputs.
        outputs: digests of their content by dataset; empty until they are saved.
        code: digest of the code that the step calls.
        assets: digest of the networks that come with the package.
        libraries: versions of the libraries that compute.
        parameters: what the step read, by path.
        inputs: digests of the content of the datasets that it read.
        catalog: how the catalog says that its datasets are loaded and saved.
        origins: the versions of these datasets; no part of the key.
        plugins: digests of the code of each plug-in alone that the parameters name, which `code` covers; no part of the
            key.
        device: of the model; no part of the key.
        seconds: that the step took, without saving; of a resumed step, since it was resumed; no part of the key.
    """

    step: str
    version: Version
    outputs: dict[str, str]
    code: str
    assets: str
    libraries: dict[str, str]
    parameters: dict[str, Any]
    inputs: dict[str, str]
    catalog: dict[str, Any] = Field(default={})
    origins: dict[str, str] = Field(default={})
    plugins: dict[str, str] = Field(default={})
    device: str = ""
    seconds: float = Field(default=0.0, ge=0.0, allow_inf_nan=False, strict=True)

    @property
    def key(self) -> str:
        """Return 16 hex digits of what determines the outputs."""
        parts = self.model_dump(mode="json", exclude={"version", "origins", "plugins", "device", "seconds"})
        parts["outputs"] = sorted(self.outputs)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def file_name(self) -> str:
        """Return the name of the record's file."""
        return f"{self.key}_{self.version}.json"


class Records:
    """A folder of records, and in its folder `runs` the outputs of each run that came to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def versions(self, key: str) -> list[Record]:
        """Return all records with this key, the newest version first."""
        return self._read(f"{key}_*.json")[::-1] if _KEY.fullmatch(key) else []

    def all(self) -> list[Record]:
        """Return every record, those of the oldest versions first."""
        return self._read("*.json")

    def has_version(self, version: str) -> bool:
        """Tell whether a run of this version has recorded anything."""
        return any(self.folder.glob(f"*_{version}.json")) or (self.folder / "runs" / f"{version}.json").exists()

    def _read(self, pattern: str) -> list[Record]:
        """Read records, without those that are damaged or under the name of another."""
        found = []
        for path in self.folder.glob(pattern):
            with suppress(OSError, ValueError, RecursionError):
                record = Record.model_validate_json(path.read_text(encoding="utf-8"))
                found += [record] if record.file_name == path.name else []
        return sorted(found, key=lambda record: record.version)

    def write(self, record: Record) -> None:
        """Keep a record."""
        _write(self.folder / record.file_name, record.model_dump_json(indent=1))

    def end(self, version: str, outputs: Mapping[str, str]) -> None:
        """Keep the versions of all outputs of a run, made or reused, once it has come to its end."""
        _write(self.folder / "runs" / f"{version}.json", json.dumps(dict(outputs), indent=1, sort_keys=True))

    def are_last(self, outputs: Mapping[str, str]) -> bool:
        """Tell whether the last complete run that has an output has this version of it, for each output."""
        last: dict[str, str] = {}
        for _, ended in sorted(self.ended().items()):
            last |= ended
        return all(last.get(name) == version for name, version in outputs.items())

    def ended(self) -> dict[str, Mapping[str, str]]:
        """Return the versions of all outputs of each run that came to its end, by the run's version."""
        found: dict[str, Mapping[str, str]] = {}
        for path in self.folder.glob("runs/*.json"):
            with suppress(OSError, ValueError):  # damaged: the run counts as stopped
                found[path.stem] = _VERSIONS.validate_json(path.read_bytes())
        return found


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def differences(old: Record, new: Record) -> Iterator[str]:
    """Say in words why `new` is not `old`; inputs come last."""
    if old.code != new.code:
        yield "its code changed"
    if old.assets != new.assets:
        yield "the networks that come with the package changed"
    pairs = ((old.libraries, new.libraries), (old.parameters, new.parameters), (old.catalog, new.catalog))
    for before, after in ((flat(before), flat(after)) for before, after in pairs):
        for name in changed_names(before, after):
            yield "{} is {}, was {}".format(name, *_shown(str(after.get(name)), str(before.get(name))))
    for name in changed_names(old.inputs, new.inputs):
        yield f"{INPUT} {name} is different"


def _shown(new: str, old: str, most: int = 200) -> tuple[str, str]:
    """Return two values; of long ones, such as lists of thousands of words, the part where they begin to differ."""
    if max(len(new), len(old)) <= most:
        return new, old
    equal = next((place for place, (one, other) in enumerate(zip(new, old)) if one != other), min(len(new), len(old)))
    start = max(0, equal - 20)
    shown = [each[start : start + most] for each in (new, old)]
    ends = ["…" * (len(each) > start + most) for each in (new, old)]
    return f"{'…' * (start > 0)}{shown[0]}{ends[0]}", f"{'…' * (start > 0)}{shown[1]}{ends[1]}"


def changed_names(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List the names whose values differ; a missing one counts as None."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping by paths with dots."""
    result: dict[str, Any] = {}
    for name, value in tree.items():
        result |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return result


def chain(records: Iterable[Record], *ends: Record, own: Mapping[str, str] = MappingProxyType({})) -> list[Record]:
    """Return records and those of all that they were made from, back to the prompts; the last steps come first.

    Args:
        records: to look in.
        ends: the last steps.
        own: the versions of a run's datasets. A step that it reused was made from those of an earlier run; the run's
            own follow in their place where their content is the same.
    """
    makers = {(name, each.version): each for each in records for name in each.outputs}
    found: dict[tuple[str, str], Record] = {}
    waiting = list(ends)
    while waiting:
        each = waiting.pop(0)
        if (each.key, each.version) in found:
            continue
        found[each.key, each.version] = each
        for name, version in each.origins.items():
            ours = makers.get((name, own.get(name, version)))
            same = ours is not None and ours.outputs[name] == each.inputs.get(name)
            maker = ours if same else makers.get((name, version))
            waiting += [maker] if maker is not None else []
    return list(found.values())
