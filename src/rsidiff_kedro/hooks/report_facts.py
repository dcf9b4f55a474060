"""Tell the steps of the report which run they belong to and what it cost."""

import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro import __version__
from rsidiff_kedro.core.untrusted.text import printable, without_credentials
from rsidiff_kedro.datasets.runs import ADAPTER, REPORT
from rsidiff_kedro.execution.run_facts import Change, RunFacts, set_run_facts
from rsidiff_kedro.hooks.configuration import RsiConfigLoader, environment_of
from rsidiff_kedro.hooks.stage_times import recorded_seconds
from rsidiff_kedro.provenance.code_digest import library_versions
from rsidiff_kedro.provenance.records import Record, Records, chain
from rsidiff_kedro.provenance.retention import RECORDS


class RunFactsHooks:
    """Gather the facts of a run from its configuration and its lineage."""

    def __init__(self) -> None:
        self._root = Path()
        self._records = Records(self._root / "data" / RECORDS)
        self._environment = ""
        self._changed: dict[str, Change] = {}
        self._names: set[str] = set()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note what the run changes of the configuration."""
        loader = context.config_loader
        self._root = Path(context.project_path)
        self._records = Records(self._root / loader["globals"]["data"] / RECORDS)
        self._environment = environment_of(context.env)
        self._changed = loader.changed_parameters() if isinstance(loader, RsiConfigLoader) else {}

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Note the datasets of the run."""
        self._names = {name for name in pipeline.datasets() if not is_parameter(name)}

    @hook_impl
    def before_node_run(self, node: Node, catalog: CatalogProtocol, run_id: str) -> None:
        """Set the facts for a step of the report."""
        if REPORT not in node.tags:
            return
        records = self._records.all()
        own = _versions(self._names, catalog)
        read = {(name, own[name]) for name in node.inputs if name in own}
        makers = [each for each in records if any((name, each.version) in read for name in each.outputs)]
        made = chain(records, *makers, own=own)
        set_run_facts(
            RunFacts(
                run_id=run_id,
                command=command(),
                environment=self._environment,
                changed=self._changed,
                versions={"rsidiff_kedro": __version__, **library_versions(), "python": platform.python_version()},
                seconds=recorded_seconds(made),
                adapters=self._adapters(made, catalog),
            )
        )

    @hook_impl
    def after_node_run(self) -> None:
        """Forget them."""
        set_run_facts(None)

    def _adapters(self, made: list[Record], catalog: CatalogProtocol) -> dict[int, str]:
        """Return the folder of each round's adapter, from the project's root if it lies there."""
        folders: dict[int, str] = {}
        for record in made:
            for name in record.outputs:
                match, dataset = ADAPTER.fullmatch(name), catalog.get(name)
                if match is not None and isinstance(dataset, AbstractVersionedDataset):
                    versioned = dataset._version is not None
                    folder = Path(dataset._get_versioned_path(record.version) if versioned else dataset._filepath)
                    inside = folder.is_relative_to(self._root)
                    folders[int(match[1])] = str(folder.relative_to(self._root) if inside else folder)
        return folders


def _versions(names: Iterable[str], catalog: CatalogProtocol) -> dict[str, str]:
    """Return the versions of datasets that the run reads or has made."""
    datasets = {name: catalog.get(name) for name in names}
    return {
        name: str(dataset.resolve_load_version())
        for name, dataset in datasets.items()
        if isinstance(dataset, AbstractVersionedDataset) and dataset.exists()
    }


def command() -> list[str]:
    """Return the words of this process's command, without credentials; none in a notebook or a script of its own."""
    name = Path(sys.argv[0]).name
    program = ["python", "-m", "rsidiff_kedro"] if name == "__main__.py" else [name]
    if program not in (["kedro"], ["python", "-m", "rsidiff_kedro"]):
        return []
    return [*program, *(printable(without_credentials(word)) for word in sys.argv[1:])]
