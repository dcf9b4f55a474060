"""A shuffle that depends on what is shuffled and on a seed, never on the order it came in."""

import hashlib
from collections.abc import Iterable

import numpy as np


def random_order(ids: Iterable[str], *seed: int | str) -> np.ndarray:
    """Positions that put distinct ids in a random order.

    Each id is sorted by the SHA-256 of seed and id, so that two ids keep their order when others come or go.

    Args:
        ids: distinct texts.
        seed: the run's seed and whatever else tells this shuffle from others, such as its purpose.
    """
    prefix = "/".join(map(str, seed))
    digests = [hashlib.sha256(f"{prefix}/{item}".encode()).hexdigest() for item in ids]
    return np.argsort(np.array(digests, dtype=str), kind="stable")
