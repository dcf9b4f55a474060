"""Add up the time of each stage from the records of its steps."""

from collections.abc import Iterable

from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline.node import Node

from rsidiff_kedro.pipelines import stage_of
from rsidiff_kedro.provenance.records import Record


def stage_seconds(nodes: Iterable[Node], catalog: CatalogProtocol, records: Iterable[Record]) -> dict[str, float]:
    """Return what the stages of these nodes took when they made the versions that the catalog reads.

    A step without a record, of an earlier version of the project or not yet run, counts nothing.
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
