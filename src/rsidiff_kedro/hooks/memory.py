"""Frees a node's networks before the next node opens its own: two at once may not fit a device."""

import gc

import torch
from kedro.framework.hooks import hook_impl


class MemoryHooks:
    """Collects garbage after every node; networks hang in cycles, which Python would free at a time of its own."""

    @hook_impl
    def after_node_run(self) -> None:
        """Free host and device memory."""
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
