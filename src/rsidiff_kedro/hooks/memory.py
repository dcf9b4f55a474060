"""Free a node's networks before the next node opens its own, and say what to lower when memory runs out."""

import gc
import sys

from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from rsidiff_kedro.core.devices import free_memory
from rsidiff_kedro.hooks.failures import OutOfMemory, is_out_of_memory
from rsidiff_kedro.pipelines import stages


class MemoryHooks:
    """Collect garbage after a node that opened networks: they sit in reference cycles, which Python frees much later.

    What was imported is left out: looking at every module takes longer than many a small node.
    """

    def __init__(self) -> None:
        self._opened = self._watching = False
        self._imported = 0

    def _note_network(self, *_: object) -> None:
        self._opened = True

    @hook_impl
    def before_node_run(self) -> None:
        """Watch for networks from the first step that is made."""
        if not self._watching:
            from torch.nn.modules.module import register_module_module_registration_hook

            register_module_module_registration_hook(self._note_network)
            self._watching = True

    @hook_impl(trylast=True)
    def before_pipeline_run(self) -> None:
        """Free what earlier runs of this process left, and set apart what is still in use."""
        self._collect(free=self._opened)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Let Python free again what was set apart."""
        gc.unfreeze()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """See `after_pipeline_run`."""
        gc.unfreeze()

    @hook_impl
    def after_node_run(self) -> None:
        """Free host and device memory of the networks that the node opened."""
        if self._opened:
            self._collect()

    def _collect(self, free: bool = True) -> None:
        if free:
            free_memory()
        if len(sys.modules) > self._imported:
            gc.freeze()
        self._opened, self._imported = False, len(sys.modules)

    @hook_impl(trylast=True)
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Raise OutOfMemory, with advice, instead of what a library says."""
        if is_out_of_memory(error):
            advice = [stage.lower for stage in stages() if stage.name in node.tags and stage.lower]
            raise OutOfMemory(
                f"memory ran out in {node.name}; lower {'; or '.join(advice) or 'micro_batch_size'}, or "
                "model.resolution, and continue with --only-missing-outputs: only steps that read what you changed are "
                "made again"
            ) from error
