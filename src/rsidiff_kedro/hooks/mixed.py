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

    Data that belong to no round, such as prompts, exist once per run: what a step reads of them must be what its other
    inputs were made of, each with its own round. What an earlier round was made of may differ.

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
            again = f"make both again{_how(self.name, self.first, self.second)}"
            return f"{self.first} with {self.second}, but they were made of different {self.name}; {again}"
        text = f"{self.name} with {self.second}, which was made of other content of it; "
        text += f"first make {self.second} again{_how(self.name, self.second)}"
        if self.name in read and self.versions:
            text += f", or read what it was made of: --load-versions={self.name}:{self.versions[-1]}"
        return text


def _how(name: str, *made: str) -> str:
    """Name the smallest pipeline that makes datasets of another one, whether or not it makes that too."""
    found = {each: pipelines[each] for each in pipelines if {*made} <= pipelines[each].all_outputs()}
    steps = {each: len(part.nodes) for each, part in found.items() if name in part.datasets()}
    return f" (kedro run --pipelines={min(steps, key=steps.__getitem__)})" if steps else ""


class _Origins:
    """Find what content was made of, whatever its version: runs that make the same content share its origins."""

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
            claims = self._claims(inputs, number)
            for name in sorted(claims, key=lambda each: each not in inputs):
                first = name if name in claims[name] else next(iter(claims[name]))
                for second, digests in claims[name].items():
                    if not digests & claims[name][first]:
                        versions = [each for digest in digests for each in self._versions.get((name, digest), ())]
                        yield _Difference(name, first, second, sorted(versions))

    def _claims(self, inputs: Mapping[str, str], number: int | None) -> dict[str, dict[str, set[str]]]:
        """Return of what content of each dataset, of a round or of none, each input was made that must agree on it.

        Of data without a round, inputs of a round must agree only on what the node reads itself.
        """
        claims: dict[str, dict[str, set[str]]] = {}
        shared = {name for name, digest in inputs.items() if round_in(name) is None and _KNOWN.fullmatch(digest)}
        for member in (name for name in inputs if number is None or round_in(name) in (None, number)):
            of_round = number is None and round_in(member) is not None
            for name, digests in self._behind(member, inputs[member], number).items():
                counts = name in shared if of_round else round_in(name) == number
                if counts and all(map(_KNOWN.fullmatch, digests)):
                    claims.setdefault(name, {})[member] = digests
        return claims

    def _behind(self, name: str, digest: str, number: int | None) -> dict[str, set[str]]:
        """Return a dataset and all that it may have been made of, of no round and of one, with the digests of each.

        Without a number, the one is that of the data that is followed: their earlier rounds are left out.
        """
        found: dict[str, set[str]] = {}
        waiting = [(name, digest)]
        for each in waiting:  # which grows
            if each[1] in found.setdefault(each[0], set()):
                continue
            found[each[0]].add(each[1])
            own = round_in(each[0]) if number is None else number
            for inputs in self._inputs.get(each, ()):
                items = [(item, round_in(item[0])) for item in inputs.items()]
                waiting += [item for item, of in items if of in (None, own) or number is own is None]
        return found
