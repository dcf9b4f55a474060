"""Shuffle by id and seed, independent of the order of the input."""

import hashlib
from collections.abc import Iterable

import numpy as np


def random_order(ids: Iterable[str], *seed: int | str) -> np.ndarray:
    """Return positions that put distinct ids in a random order.

    Ids are sorted by the SHA-256 of seed and id, so two ids keep their order when others come or go. `seed` holds the
    run's seed and whatever tells this shuffle from others, such as its purpose.
    """
    prefix = "/".join(map(str, seed))
    digests = [hashlib.sha256(f"{prefix}/{item}".encode()).hexdigest() for item in ids]
    return np.argsort(np.array(digests, dtype=str), kind="stable")
