"""The runner of this project: run nodes round by round, and skip those whose outputs may be reused."""

import logging
from collections import Counter
from itertools import chain

from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner
from kedro.runner.task import Task
from pluggy import PluginManager

from rsidiff_kedro.hooks.reuse import ReuseHooks
from rsidiff_kedro.hooks.supported_runner import RUNNER
from rsidiff_kedro.pipelines.stage import by_rounds


class RsiRunner(SequentialRunner):
    """Kedro's sequential runner, which decides about a node's outputs when the node's inputs are known.

    A change that makes the same inputs again therefore stops there. Rounds are a chain, so there is nothing for
    Kedro's other runners to do in parallel.
    """

    def __str__(self) -> str:
        return RUNNER  # by which `check_runner` knows it

    @property
    def _logger(self) -> logging.Logger:
        return logging.getLogger("kedro.runner")  # conf/logging.yml knows that name

    def _filter_pipeline_for_missing_outputs(self, pipeline: Pipeline, catalog: CatalogProtocol) -> Pipeline:
        return pipeline  # decided node by node

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: PluginManager | None = None,
        run_id: str | None = None,
    ) -> None:
        assert hook_manager is not None
        reuse = next((each for each in hook_manager.get_plugins() if isinstance(each, ReuseHooks)), None)
        makers = {output: node for node in pipeline.nodes for output in node.outputs}

        def execute(node: Node) -> None:
            if reuse is not None:
                pruned = [name for name in reuse.pruned(node.inputs) if name in makers]
                for maker in dict.fromkeys(makers[name] for name in pruned):
                    reuse.make_again(maker)
                    execute(maker)
                if pruned:
                    reuse.make_again(node)  # its record names what it reads now
            Task(node, catalog, self._is_async, hook_manager, run_id).execute()

        load_counts = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        for node in by_rounds(pipeline):
            if reuse is None or not reuse.is_reusable(node):
                execute(node)
            self._release_datasets(node, catalog, load_counts, pipeline)
