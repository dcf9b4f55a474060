"""Find which versions a part of the pipeline reads of what no run made with its parameters."""

from collections.abc import Callable, Iterable, Mapping, Set

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.pipeline.pipeline import CircularDependencyError

from rsidiff_kedro.pipelines.stage import by_rounds
from rsidiff_kedro.provenance.records import Records, chain

_SHOWN = 3


def makers(names: Set[str], every: Iterable[Pipeline]) -> Pipeline:
    """Return the steps of all these pipelines that make datasets, and what those are made of.

    The pipeline that makes most of the datasets counts first. Of the others, steps are left out whose name or outputs
    one before has; and the last ones altogether, as long as data would be made of themselves.
    """
    ordered = sorted(every, key=lambda each: len(names & each.all_outputs()), reverse=True)
    makers_of, steps = dict[str, Node](), set[str]()
    for node in (node for each in ordered for node in each.nodes):
        if node.name not in steps and makers_of.keys().isdisjoint(node.outputs):
            makers_of |= dict.fromkeys(node.outputs, node)
            steps.add(node.name)
    needed, waiting = dict[Node, None](), [*names]
    for name in waiting:  # which grows
        maker = makers_of.get(name)
        if maker is not None and maker not in needed:
            needed[maker] = None
            waiting += maker.inputs
    try:
        return Pipeline([*needed])
    except CircularDependencyError:
        return makers(names, ordered[:-1])


def last_versions(
    names: Set[str], pipeline: Pipeline, records: Records, exists: Callable[[str, str], bool]
) -> dict[str, str]:
    """Return versions of datasets that belong together, of runs that came to their end.

    The last step decides: what it made is that of the last complete run that has it. From this follow the data of which
    that was made, then others of the same run. What is still left is found in the same way.

    Args:
        names: of the datasets; those that no complete run has are left out.
        pipeline: that makes them.
        records: of earlier runs.
        exists: tells whether a dataset has a version.
    """
    runs = [versions for _, versions in sorted(records.ended().items(), reverse=True)]
    every = records.all() if runs else []
    makers = {(name, each.version): each for each in every for name in each.outputs}
    found: dict[str, str] = {}
    used: list[Mapping[str, str]] = []
    for name in (name for node in reversed([*by_rounds(pipeline)]) for name in node.outputs if name in names):
        run = next((each for each in [*used, *runs] if name in each and exists(name, each[name])), None)
        if name in found or run is None:
            continue
        found[name] = run[name]
        used.append(run)
        made = makers.get((name, run[name]))
        for each in chain(every, made, own=run) if made is not None else ():
            wanted = each.outputs.keys() & names - found.keys()
            found |= {one: each.version for one in wanted if exists(one, each.version)}
    return found


def text(read: Mapping[str, str]) -> str:
    """Name datasets and the version in which each is read, those of one version together."""
    versions: dict[str, list[str]] = {}
    for name, version in sorted(read.items()):
        versions.setdefault(version or "no version", []).append(name)
    parts = [f"{_first(names)} of {version}" for version, names in versions.items()]
    more = f"; and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more


def _first(names: list[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
