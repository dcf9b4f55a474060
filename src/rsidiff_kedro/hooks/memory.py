"""Frees a node's networks before the next node opens its own, and says what to lower where memory does not suffice."""

import gc

import torch
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from rsidiff_kedro.faults import is_out_of_memory, out_of_memory


class MemoryHooks:
    """Collects garbage after every node; networks hang in cycles, which Python would free at a time of its own."""

    @hook_impl
    def after_node_run(self) -> None:
        """Free host and device memory."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @hook_impl(trylast=True)
    def on_node_error(self, error: Exception, node: Node) -> None:
        """Raise OutOfMemory in the place of what a library says."""
        if is_out_of_memory(error):
            raise out_of_memory(node.name, set(node.tags)) from error
