"""Refuse, before the first node, to pair images that were not made alike."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro.core.image_set import PAIR
from rsidiff_kedro.diffusion.bases import BASES
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
from rsidiff_kedro.pipelines.requirements import RequirementError, remedy
from rsidiff_kedro.provenance.code_digest import assets_digest
from rsidiff_kedro.provenance.records import Record, Records, changed_names, flat

_PAIRED = re.compile(r"(?P<round>.+)\.(?P<purpose>test|validation|candidate)_(?:images|scores)")
"""Names of images and scores that are compared in pairs; those of a candidate are of validation images."""
_PROMPTS = re.compile(r"(test|validation)_prompts")
_NO_OTHER_NOISE = {"purpose", "sampler.micro_batch_size", "sampler.runtime"}
"""What tells no images apart that are paired: the last two change pixels by 1/255."""
_CONTENT = re.compile(r" \(([^()]+)\)$")
"""The end of a location in a key: its commit or fingerprint."""
SHIPPED = "digest of the shipped networks"
"""The name, among settings, of that of all networks that come with the package."""
_SHOWN = 3


def is_paired(name: str) -> bool:
    """Tell whether `check_pairs` needs the rows of a dataset: of images or scores that are paired, or their prompts."""
    return bool(_PAIRED.fullmatch(name) or _PROMPTS.fullmatch(name))


def check_pairs(
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    tables: Mapping[str, pd.DataFrame],
    keyed: KeyedParameters,
    records: Records,
) -> None:
    """Raise RequirementError if a step would pair images of other prompts, noise, settings or numbers of samples.

    `core.pairs` checks what is unknown before the first node, such as prompts that the run curates itself.

    Args:
        pipeline: that runs.
        catalog: with the versions that the run reads.
        tables: the rows of what the run reads, by the names for which `is_paired` holds.
        keyed: the parameters of the run.
        records: of what earlier runs made.
    """
    read = {name for name in pipeline.inputs() if _PAIRED.fullmatch(name)}
    pairs = dict.fromkeys(pair for node in pipeline.nodes for pair in _pairs(node) if read & {*pair}) if read else {}
    found = _Found(pipeline, catalog, tables, keyed, records) if pairs else None
    for first, second in pairs:
        assert found is not None
        new, old = (first, second) if second in read else (second, first)
        what = found.of(old).differences(found.of(new))
        if what:
            raise RequirementError(
                f"{old} cannot be compared with {new} in pairs: its {'; its '.join(what[:_SHOWN])}; {remedy(old)}"
            )


def _pairs(node: Node) -> Iterator[tuple[str, str]]:
    """Yield the datasets of a node whose images are paired, each with the first one of its purpose."""
    first: dict[str, str] = {}
    for name in [*node.inputs, *node.outputs]:
        if _PAIRED.fullmatch(name) and first.setdefault(_purpose(name), name) != name:
            yield first[_purpose(name)], name


def _purpose(name: str) -> str:
    match = _PAIRED.fullmatch(name)
    return match["purpose"].replace("candidate", "validation") if match is not None else ""


def _images(name: str) -> str:
    """Return the name of the images that a table of scores is of."""
    match = _PAIRED.fullmatch(name)
    assert match is not None
    return f"{match['round']}.{_purpose(name)}_images"


@dataclass(frozen=True)
class _Images:
    """Hold what images were made with, by path, and their `PAIR`s; None where it is unknown."""

    settings: Mapping[str, Any] | None
    pairs: pd.MultiIndex | None

    def differences(self, other: "_Images") -> list[str]:
        """List how these images differ from others that they are to be compared with; empty if they can be partners."""
        found = []
        if self.settings is not None and other.settings is not None:
            ours, theirs = comparable(self.settings, other.settings)
            names = [name for name in changed_names(ours, theirs) if name not in _NO_OTHER_NOISE]
            found = [f"{name} is {self.settings.get(name)}, not {other.settings.get(name)}" for name in names]
        if self.pairs is None or other.pairs is None or set(self.pairs) == set(other.pairs):
            return found
        prompts, wanted = ({*each.get_level_values(0)} for each in (self.pairs, other.pairs))
        if prompts != wanted:
            return [f"prompts differ: {len(prompts & wanted)} of {len(prompts)} are shared", *found]
        return found or [f"{len(self.pairs)} images have {len(other.pairs)} for the same prompts"]


def comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two settings in which base models that are told by the same thing are equal; see `KeyedParameters`.

    Where the content of both is known, it alone tells: a folder may lie elsewhere, and a commit be given by its branch
    or by itself. Else names and revisions do, and of a shipped model, whose content older records do not name, all
    networks that come with the package.
    """
    bases = [str(each.get("model.base")) for each in (one, other)]
    contents = [_CONTENT.search(base) for base in bases]
    if None not in contents:
        told = [{"model.base": content[1], "model.revision": None, SHIPPED: None} for content in contents if content]
    else:
        names = [_CONTENT.sub("", base) for base in bases]
        told = [{"model.base": name} | ({} if name in BASES else {SHIPPED: None}) for name in names]
    return {**one, **told[0]}, {**other, **told[1]}


class _Found:
    """Find what is known of images before the first node; the arguments are those of `check_pairs`."""

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        tables: Mapping[str, pd.DataFrame],
        keyed: KeyedParameters,
        records: Records,
    ) -> None:
        self._catalog, self._tables, self._keyed = catalog, tables, keyed
        self._makers = {name: node for node in pipeline.nodes for name in node.outputs}
        self._records = {(name, each.version): each for each in records.all() for name in each.outputs}
        self._known: dict[str, _Images] = {}

    def of(self, name: str) -> _Images:
        """Return what is known of the images behind a dataset that the run reads or makes."""
        if name in self._makers:
            name = _images(name)
        if name not in self._known:
            node, is_read = self._makers.get(name), name in self._tables
            self._known[name] = self._made_by(node) if node else self._read(name) if is_read else _Images(None, None)
        return self._known[name]

    def _made_by(self, node: Node) -> _Images:
        """Return what a node of this run will make images with."""
        names = [name for name in node.inputs if is_parameter(name)]
        settings = flat(self._keyed.of_step({each.removeprefix("params:"): self._catalog.load(each) for each in names}))
        samples = next(value for name, value in settings.items() if name.endswith(".samples_per_prompt"))
        read = [name for name in node.inputs if _PROMPTS.fullmatch(name) and name in self._tables]
        prompts = self._tables[read[0]]["prompt_id"] if read else None
        settings[SHIPPED] = assets_digest()
        return _Images(settings, None if prompts is None else pd.MultiIndex.from_product([prompts, range(samples)]))

    def _read(self, name: str) -> _Images:
        """Return what images of an earlier run were made with, as far as its records say."""
        dataset = self._catalog.get(name)
        version = dataset.resolve_load_version() if isinstance(dataset, AbstractVersionedDataset) else None
        record = self._record(name, str(version))
        settings = {**flat(record.parameters), SHIPPED: record.assets} if record is not None else None
        return _Images(settings, pd.MultiIndex.from_frame(self._tables[name][PAIR]))

    def _record(self, name: str, version: str) -> Record | None:
        """Return the record of the images that a version of a dataset is, or was scored from."""
        waiting = [(name, version)]
        for each in waiting:  # which grows
            record = self._records.get(each)
            if record is None:
                continue
            if each[0].endswith("_images"):
                return record
            waiting += [origin for origin in record.origins.items() if _purpose(origin[0]) == _purpose(name)]
        return None
