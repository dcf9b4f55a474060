"""Free a node's networks before the next node opens its own, and say what to lower when memory runs out."""

import gc

import torch
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from rsidiff_kedro.hooks.failures import OutOfMemory, is_out_of_memory
from rsidiff_kedro.pipelines import stages


class MemoryHooks:
    """Collect garbage after every node: networks sit in reference cycles, which Python would free some time later.

    What lived before the run is left out: looking at every imported module takes longer than many a small node.
    """

    @hook_impl(trylast=True)
    def before_pipeline_run(self) -> None:
        """Free what earlier runs of this process left, and set apart what is still in use."""
        gc.collect()
        gc.freeze()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Let Python free again what lived before the run."""
        gc.unfreeze()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """See `after_pipeline_run`."""
        gc.unfreeze()

    @hook_impl
    def after_node_run(self) -> None:
        """Free host and device memory."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
