"""Find runs on disk, and load what a run made or reused, by the names of its datasets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kedro.io import AbstractVersionedDataset, DataCatalog, DatasetNotFoundError
from kedro.io.core import get_protocol_and_path

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.datasets.adapter_folder import AdapterDataset
from rsidiff_kedro.method.selecting import selecting_of
from rsidiff_kedro.provenance.content_digest import content_digest
from rsidiff_kedro.provenance.records import Record, Records, chain, flat
from rsidiff_kedro.provenance.retention import RECORDS
from rsidiff_kedro.reporting.values import Metrics, accepted_round

ADAPTER = re.compile(r"rsi\.round_(\d+)\.adapter")
"""Names of the datasets that hold the adapters of rounds."""
_APART = re.compile(r"(?!rsi\.)\w+\.round_\d+\.")
"""Begins the names of what a stage apart makes in the same run, such as sft."""
REPORT = "report"
"""The dataset that completes a run of the whole method; the stage that makes it has the same name."""
BASE, BEST = "base", "best"
_SELECTED = ("images", "selection")
"""The datasets of a round whose steps drop samples; others only read which rewards do."""
_MODELS = "rewards"
"""The section of the parameters that says where preference models are."""
_OWN = "rsidiff_kedro."
"""Begins the types of this package's datasets."""
_FOREIGN = {"type": "kedro.io.MemoryDataset"}
"""Stands for a dataset of another package, which may not be installed, so that no other entry takes its names."""


def catalog_config(root: Path, loader: Mapping[str, Any]) -> dict[str, Any]:
    """Return the catalog of a project's configuration: datasets of this package with absolute paths, others in memory.

    Raises:
        InputError: an entry of the catalog lacks its type or its path.
    """
    found: dict[str, Any] = {}
    for name, each in loader["catalog"].items():
        if not _text(name, each, "type").startswith(_OWN):
            found[name] = _FOREIGN
            continue
        protocol, path = get_protocol_and_path(_text(name, each, "filepath"))
        found[name] = each | ({"filepath": (root / path).as_posix()} if protocol == "file" else {})
    return found


def _text(name: str, entry: Any, key: str) -> str:
    """Return what an entry of the catalog says under a key."""
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(value, str) or not value:
        raise InputError(f"the catalog's entry {name!r} has no text as its {key}; correct it in catalog.yml")
    return value


def open_runs(root: Path, loader: Mapping[str, Any]) -> "Runs":
    """Open the runs of the project in a folder, with its configuration."""
    return Runs(root / loader["globals"]["data"], catalog_config(root, loader))


class RunError(InputError):
    """A run or a round is not on disk; the message lists those that are."""


def own_dataset(
    config: Mapping[str, Mapping[str, Any]], name: str, version: str | None = None
) -> AbstractVersionedDataset[Any, Any]:
    """Return a dataset of the catalog, see `catalog_config`, in a version; None: in the newest.

    Raises:
        RunError: it has no type of this package.
    """
    entries, versions = {each: dict(value) for each, value in config.items()}, {name: version} if version else None
    try:
        found = DataCatalog.from_config(entries, load_versions=versions).get(name)
    except DatasetNotFoundError:
        found = None
    if not isinstance(found, AbstractVersionedDataset):
        raise RunError(
            f"the catalog gives {name} no type of {_OWN}datasets, and this command reads no other; give it one in "
            "catalog.yml"
        )
    return found


@dataclass(frozen=True)
class Run:
    """A run, with the outputs of earlier runs that it reused.

    Attributes:
        version: of what it made itself, and its id.
        finished: whether it has a report.
        versions: the version of each dataset.
        records: of all steps that led to it, its own last steps first.
        config: of the catalog, see `catalog_config`.
    """

    version: str
    finished: bool
    versions: Mapping[str, str]
    records: list[Record]
    config: Mapping[str, Mapping[str, Any]]

    @property
    def rounds(self) -> int:
        """Return the number of the last round that has an adapter."""
        return max(int(match[1]) for match in map(ADAPTER.fullmatch, self.versions) if match is not None)

    def load(self, name: str) -> Any:
        """Load a dataset; raise RunError if the run has none of that name, or no longer has it."""
        return self._dataset(name).load()

    def path(self, name: str) -> Path:
        """Return the file or folder of a dataset; raise RunError if the run has none of that name, or no longer."""
        return Path(self._dataset(name)._get_load_path())

    def _dataset(self, name: str) -> AbstractVersionedDataset[Any, Any]:
        if name not in self.versions:
            kind = name.rpartition(".")[2]
            rounds = [str(each) for each in range(self.rounds + 1) if f"rsi.round_{each}.{kind}" in self.versions]
            raise RunError(
                f"the run {self.version} made no {name} (of its {self.rounds} rounds it has that of: "
                f"{', '.join(rounds) or 'none'}); run all rounds with --only-missing-outputs, or name another run"
            )
        found = own_dataset(self.config, name, self.versions[name])
        if found._version is None:
            self._check_own(name, Path(found._filepath))
        return found

    def _check_own(self, name: str, place: Path) -> None:
        """Raise RunError unless what lies at the place of a dataset without versions is what a record says."""
        version = self.versions[name]
        digests = [each.outputs[name] for each in self.records if each.version == version and name in each.outputs]
        if not place.exists() or content_digest(place) not in digests:
            raise RunError(
                f"{name} has no versions in catalog.yml, and {place} does not hold what the run {self.version} saved "
                "there, as after another run; name the last run that saved it, or set `versioned: true` for it and "
                "run again"
            )

    def metrics(self) -> list[Metrics]:
        """Return the metrics of all rounds, the base first."""
        return [self.load(f"rsi.round_{number}.metrics") for number in range(self.rounds + 1)]

    def round_number(self, name: str) -> int:
        """Return the round that "best", "base" or a number means; the best is the last that no gate rejected.

        Raises:
            RunError: there is no such round.
        """
        if name == BEST:
            return accepted_round(self.metrics())
        number = 0 if name == BASE else int(name) if name.isdecimal() else -1
        if not 0 <= number <= self.rounds:
            raise RunError(
                f"there is no round {name!r} in the run {self.version}; it has {BASE} and 1 to {self.rounds}, and "
                f"{BEST} means the last that no gate rejected"
            )
        return number

    def tested_round(self, number: int) -> int:
        """Return the round itself if its adapter was tested, else a tested round that has the same, pruned or not.

        Raises:
            RunError: there is none.
        """
        tested = [each for each in range(self.rounds + 1) if f"rsi.round_{each}.test_scores" in self.versions]
        if number in tested:
            return number
        wanted = self._digest(number)
        same = next((each for each in tested if self._digest(each) == wanted), None)
        if same is None:
            raise RunError(
                f"round {number} of the run {self.version} was not tested, as evaluation.test_every says; name a "
                f"tested round ({', '.join(map(str, tested)) or 'none'}), or continue the run with "
                "--only-missing-outputs --params evaluation.test_every=1"
            )
        return same

    def _digest(self, number: int) -> str:
        """Return the digest of a round's adapter, of which only what says it needs to be there."""
        name = f"rsi.round_{number}.adapter"
        dataset = self._dataset(name) if name in self.versions else None
        if not isinstance(dataset, AdapterDataset):
            raise RunError(
                f"the run {self.version} has no {name} of the type {_OWN}datasets.AdapterDataset; run all rounds with "
                "--only-missing-outputs, or correct catalog.yml"
            )
        return dataset.digest()

    def adapter(self, number: int) -> Adapter:
        """Load a round's adapter."""
        loaded: Adapter = self.load(f"rsi.round_{number}.adapter")
        return loaded

    def parameters(self) -> dict[str, Any]:
        """Return what its steps read of the parameters, and what else tells steps apart, by path.

        Where steps of a part of the pipeline read another value than those before, theirs counts, whole. Steps of a
        stage apart, such as sft, made nothing of it.
        """
        found: dict[str, Any] = {}
        own = [each for each in self.records if not any(map(_APART.match, each.outputs))]
        for record in reversed(own):  # the run's own steps last
            for name, value in record.parameters.items():
                if name != _MODELS:  # of which a record holds only what its step names
                    found = {path: each for path, each in found.items() if not f"{path}.".startswith(f"{name}.")}
                found |= flat({name: value})
        return found

    def leading_to(self, name: str) -> list[Record]:
        """Return the records of the steps that led to a dataset, the last one first; empty if none is recorded."""
        version = self.versions.get(name)
        ends = [each for each in self.records if name in each.outputs and each.version == version]
        return chain(self.records, *ends, own=self.versions)

    def selecting(self) -> dict[str, str]:
        """Return the rewards that selected training images of any round, each with how it did.

        Records of steps whose outputs were made again for this run say nothing of it.
        """
        read: dict[str, dict[str, Any]] = {}
        for record in reversed(self.records):  # the run's own steps last
            for name in record.outputs:
                round_name, _, kind = name.rpartition(".")
                if kind in _SELECTED and self.versions.get(name) == record.version:
                    read.setdefault(round_name, {}).update(record.parameters)
        return {name: how for each in read.values() for name, how in selecting_of(each).items()}


class Runs:
    """The runs in a data folder.

    Args:
        data: the folder.
        config: of the catalog, see `catalog_config`.
    """

    def __init__(self, data: Path, config: Mapping[str, Mapping[str, Any]]) -> None:
        self._data, self._config = data, config
        records = Records(data / RECORDS)
        self._records, self._ended = records.all(), records.ended()
        self._makers: dict[tuple[str, str], str] = {}  # of adapters: the first run that came to its end with it
        for version, outputs in sorted(self._ended.items()):
            for artifact in outputs.items():
                if ADAPTER.fullmatch(artifact[0]):
                    self._makers.setdefault(artifact, version)

    def newest(self, *rounds: str) -> Run:
        """Return the newest finished run, or else the newest that has trained a round.

        Of `rounds`, named as in `Run.round_number`, the highest number counts. A later run that made or reused that
        round alone and came to its end has it, and so has one that stopped, where the newest finished run lacks it.

        Raises:
            RunError: there is none.
        """
        found = self._found()
        if not found:
            raise RunError(f"no run in {self._data} has trained a round; kedro run --pipeline=rsi makes one")
        usual = next((run for run in reversed(found) if run.finished), found[-1])
        number = max((int(each) for each in rounds if each.isdecimal()), default=0)
        if not number:
            return usual
        if not usual.finished and usual.rounds >= number:
            return usual
        later = [run for run in found if run.version > usual.version or not usual.finished]
        names = {f"rsi.round_{number}.{each}" for each in ("adapter", "metrics")}
        ended = [run for run in later if names <= self._ended.get(run.version, {}).keys()]
        having = ended or [run for run in later if run.rounds >= number > usual.rounds]
        return having[-1] if having else usual

    def finished(self) -> list[Run]:
        """Return the finished runs, oldest first."""
        return [run for run in self._found() if run.finished]

    def find(self, name: str) -> Run:
        """Return the run of a version, or of the only version that begins with `name`.

        Raises:
            RunError: there is none, or more than one.
        """
        found = self._found()
        matching = [run for run in found if run.version == name] or [
            run for run in found if run.version.startswith(name)
        ]
        if len(matching) != 1:
            known = ", ".join(run.version for run in matching or found) or "none"
            raise RunError(f"{len(matching)} runs are named {name!r}; name one of: {known}")
        return matching[0]

    def _found(self) -> list[Run]:
        """List the runs that have trained a round, oldest first."""
        versions = sorted({record.version for record in self._records} | self._ended.keys())
        runs = [self._run(version) for version in versions]
        return [run for run in runs if "rsi.round_1.adapter" in run.versions]

    def _run(self, version: str) -> Run:
        used = set(self._ended.get(version, {}).items())
        own = [
            each
            for each in self._records
            if each.version == version or any((name, each.version) in used for name in each.outputs)
        ]
        versions = {name: each.version for each in own for name in each.outputs} | dict(used)
        records = chain(self._records, *reversed(own), own=versions)
        made: dict[str, str] = {}
        for record in reversed(records):  # what the run itself made or reused counts more than what that came from
            made |= dict.fromkeys(record.outputs, record.version)
        made |= versions
        for name in [each for each in made if ADAPTER.fullmatch(each) and each not in versions]:
            made = self._of_round(name, made[name], version) | made
        return Run(version, REPORT in made, made, records, self._config)

    def _of_round(self, adapter: str, made: str, before: str) -> dict[str, str]:
        """Return the versions of all that the run has of a round that made its adapter, if it ended before another."""
        maker = self._makers.get((adapter, made), before)
        outputs = self._ended[maker] if maker < before else {}
        return {name: version for name, version in outputs.items() if name.startswith(adapter.removesuffix("adapter"))}
