"""Where networks can compute, and that threads open them one after the other."""

import threading

import torch

OPENING = threading.RLock()
"""Held while a network is opened or given an adapter: diffusers replaces parts of torch meanwhile, for all threads."""


def usable_devices() -> list[str]:
    """What torch can use here, the fastest first: "cuda", "mps", "cpu"."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in present.items() if is_there]
