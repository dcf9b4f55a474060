"""Add up the time of each stage from the records of its steps."""

from collections.abc import Iterable

from kedro.framework.project import pipelines
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline.node import Node

from rsidiff_kedro.pipelines import stage_of, stages
from rsidiff_kedro.provenance.records import Record


def stage_seconds(nodes: Iterable[Node], catalog: CatalogProtocol, records: Iterable[Record]) -> dict[str, float]:
    """Return what the stages of these nodes took when they made the versions that the catalog reads.

    A step without a record, such as one that has not run, counts nothing.
    """
    made = {(name, record.version): record for record in records for name in record.outputs}
    seconds: dict[str, float] = {}
    for node in nodes:
        stage, dataset = stage_of(node), catalog.get(node.outputs[0])
        if stage is None or not isinstance(dataset, AbstractVersionedDataset) or not dataset.exists():
            continue
        record = made.get((node.outputs[0], str(dataset.resolve_load_version())))
        if record is not None:
            seconds[stage.name] = seconds.get(stage.name, 0.0) + record.seconds
    return seconds


def recorded_seconds(made: Iterable[Record]) -> dict[str, float]:
    """Return what the steps of each stage took, in the order of the stages, without those that took no time."""
    steps = {node.name: stage_of(node) for pipeline in dict(pipelines).values() for node in pipeline.nodes}
    found = dict.fromkeys((stage.name for stage in stages()), 0.0)
    for record in made:
        stage = steps.get(record.step)
        if stage is not None:
            found[stage.name] += record.seconds
    return {name: seconds for name, seconds in found.items() if seconds}
