"""Find the devices that networks can compute on, and free their memory."""

import gc


def usable_devices() -> list[str]:
    """List the devices that torch can use here, the fastest first: "cuda", "mps", "cpu"."""
    import torch  # slow to import, and most commands compute nothing

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [name for name, is_there in present.items() if is_there]


def free_memory() -> None:
    """Free host and device memory of networks that are out of use: they sit in reference cycles."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def computes_on_gpu(device: str) -> bool:
    """Tell whether a model with this `device` computes on GPUs that Ray can count."""
    return device in ("auto", "cuda") and "cuda" in usable_devices()
