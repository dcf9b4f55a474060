"""Describe what decides the outputs of a step, of which its key is made."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from kedro.io import CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline.node import Node

from rsidiff_kedro.hooks.dataset_options import kinds_of, options_of
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters, texts
from rsidiff_kedro.hooks.mixed import Content
from rsidiff_kedro.pipelines.stage import TRAINS
from rsidiff_kedro.provenance.code_digest import assets_digest, code_digest, library_versions, plugin_digests
from rsidiff_kedro.provenance.records import Record, differences
from rsidiff_kedro.provenance.syntax import Place

_NEVER = "it was never made"


class Steps:
    """The steps of pipelines, with the parameters and the catalog of a run.

    Args:
        catalog: of the run, with its parameters.
        keyed: the parameters as keys hold them.
        threads: of training.
    """

    def __init__(self, catalog: CatalogProtocol, keyed: KeyedParameters, threads: int | None) -> None:
        self._catalog, self._keyed, self._threads = catalog, keyed, threads

    def describe(self, node: Node, content: Content, version: str = "0", device: str = "") -> Record:
        """Return the record of a node whose inputs have this content, without its outputs' digests."""
        names = [name for name in node.inputs if not is_parameter(name)]
        read = [name for name in node.inputs if is_parameter(name)]
        load = self._catalog.load
        parameters = self._keyed.of_step({name.removeprefix("params:"): load(name) for name in read})
        parameters |= node.func.keywords if isinstance(node.func, partial) else {}
        if self._threads is not None and TRAINS in node.tags:
            parameters["execution.threads"] = self._threads
        named, places = frozenset(texts(parameters)), self._places(node)
        return Record(
            step=node.name,
            version=version,
            outputs=dict.fromkeys(node.outputs, ""),
            code=code_digest(places, named),
            assets=assets_digest(),
            libraries=library_versions(named),
            parameters=parameters,
            inputs={name: content[name][0] for name in names},
            catalog=self._options(names, is_input=True) | self._options(node.outputs, is_input=False),
            origins={name: content[name][1] for name in names},
            plugins=plugin_digests(places, named),
            device=device,
        )

    def _options(self, names: Iterable[str], is_input: bool) -> dict[str, Any]:
        found = {name: options_of(self._catalog.get(name), is_input) for name in names}
        return {name: options for name, options in found.items() if options}

    def _places(self, node: Node) -> frozenset[Place]:
        """Return the node's function, and the classes of the datasets that it reads and writes, with any within."""
        function: Any = node.func.func if isinstance(node.func, partial) else node.func
        names = [*node.inputs, *node.outputs]
        kinds = {kind for name in names for kind in kinds_of(self._catalog.get(name))}
        return frozenset(Place(each.__module__, each.__qualname__) for each in (function, *kinds))


def nearest(record: Record, earlier: Iterable[Record]) -> Record | None:
    """Return the record that differs least from one."""
    return min(earlier, key=lambda each: len([*differences(each, record)]), default=None)


def changes(record: Record, earlier: Iterable[Record]) -> list[str]:
    """Say what makes a step differ from the most similar one."""
    found = nearest(record, earlier)
    return ([*differences(found, record)] if found is not None else []) or [_NEVER]
