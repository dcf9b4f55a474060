"""Refuse, before the first node, to join data of a round that were made of different data of it.

Rows are joined by ids, and an image's id says its round, prompt and sample, but not with which settings it was made.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from kedro.framework.project import pipelines
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.pipelines.stage import round_in
from rsidiff_kedro.provenance.records import Record

Content = dict[str, tuple[str, str]]
"""The digest and version of each dataset."""
_NEW = ("made anew", "")
"""Of what a run makes and nobody has made before."""
_KNOWN = re.compile(rf"[0-9a-f]{{16}}|{_NEW[0]}")
"""Digests that tell content; others stand for data that have none."""


class MixedInputsError(InputError):
    """A step would join data that do not belong together."""


def check_mixed(
    pipeline: Pipeline,
    read: Content,
    records: Iterable[Record],
    foreseen: Callable[[Node, Content], Record | None],
) -> None:
    """Raise MixedInputsError if what a step reads of a round was made of different content of a dataset of that round.

    Data that belong to no round, such as prompts, are one more round. What an earlier round was made of may differ.

    Args:
        pipeline: that runs.
        read: what it reads of earlier runs.
        records: of what earlier runs made.
        foreseen: returns the record of the step that made, of this content, what a node of the run will make; None if
            there is none.
    """
    origins, content = _Origins(records), dict(read)
    for node in pipeline.nodes:
        inputs = {name: content[name] for name in node.inputs if not is_parameter(name)}
        found = next(origins.differences({name: digest for name, (digest, _) in inputs.items()}), None)
        if found is not None:
            raise MixedInputsError(f"{node.name} would join {found.text(read)}")
        made = None if _NEW in inputs.values() else foreseen(node, content)
        if made is None:
            origins.add(dict.fromkeys(node.outputs, _NEW[0]), {name: digest for name, (digest, _) in inputs.items()})
            content |= dict.fromkeys(node.outputs, _NEW)
        else:
            content |= {name: (digest, made.version) for name, digest in made.outputs.items()}


@dataclass(frozen=True)
class _Difference:
    """Two inputs of a node, one of which was made of other content of a dataset than the other.

    Attributes:
        name: of the dataset; it may be the first input itself.
        first: one input.
        second: the other one.
        versions: of the dataset, of which the second may have been made.
    """

    name: str
    first: str
    second: str
    versions: list[str]

    def text(self, read: Content) -> str:
        """Say what differs and what to do; `read` is what the run reads of earlier ones."""
        if self.name != self.first:
            again = f"make both again{_how(self.first)}"
            return f"{self.first} with {self.second}, but they were made of different {self.name}; {again}"
        text = f"{self.name} with {self.second}, which was made of other content of it; "
        text += f"first make {self.second} again{_how(self.second)}"
        if self.name in read and self.versions:
            text += f", or read what it was made of: --load-versions={self.name}:{self.versions[-1]}"
        return text


def _how(name: str) -> str:
    """Name the smallest pipeline that makes a dataset."""
    found = {each: pipelines[each].nodes for each in pipelines if name in pipelines[each].all_outputs()}
    return f" (kedro run --pipelines={min(found, key=lambda each: len(found[each]))})" if found else ""


class _Origins:
    """What content of datasets was made of, whatever its version: runs that make the same share what follows."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._inputs: dict[tuple[str, str], list[Mapping[str, str]]] = {}
        self._versions: dict[tuple[str, str], list[str]] = {}
        for record in records:
            self.add(record.outputs, record.inputs)
            for made in record.outputs.items():
                self._versions.setdefault(made, []).append(record.version)

    def add(self, outputs: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        """Add that these outputs were made of these inputs, all by their digests."""
        for made in outputs.items():
            self._inputs.setdefault(made, []).append(inputs)

    def differences(self, inputs: Mapping[str, str]) -> Iterator[_Difference]:
        """Yield what the inputs of a node, by their digests, do not agree on."""
        for number in sorted({round_in(name) for name in inputs}, key=str):
            claims: dict[str, dict[str, set[str]]] = {}
            for member in (name for name in inputs if round_in(name) in (None, number)):
                for name, digests in self._behind(member, inputs[member], number).items():
                    if round_in(name) == number and all(map(_KNOWN.fullmatch, digests)):
                        claims.setdefault(name, {})[member] = digests
            for name in sorted(claims, key=lambda each: each not in inputs):
                first = name if name in claims[name] else next(iter(claims[name]))
                for second, digests in claims[name].items():
                    if not digests & claims[name][first]:
                        versions = [each for digest in digests for each in self._versions.get((name, digest), ())]
                        yield _Difference(name, first, second, sorted(versions))

    def _behind(self, name: str, digest: str, number: int | None) -> dict[str, set[str]]:
        """Return a dataset and all that it may have been made of, of a round or of none, with the digests of each."""
        found: dict[str, set[str]] = {}
        waiting = [(name, digest)]
        for each in waiting:  # which grows
            if each[1] in found.setdefault(each[0], set()):
                continue
            found[each[0]].add(each[1])
            for inputs in self._inputs.get(each, ()):
                waiting += [item for item in inputs.items() if round_in(item[0]) in (None, number)]
        return found
