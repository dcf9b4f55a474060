"""Measure the distance between two sets of images."""

import math

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Fréchet distance, squared as in FID, between Gaussians fitted to features [n, d] and [m, d].

    Covariances are shrunk (Ledoit and Wolf), so n and m may be smaller than d. The value still depends on n and m:
    compare only sets of the same size. It is 0 for equal sets, and NaN where a set has a single image.

    Raises:
        ValueError: the features differ in width.
    """
    from sklearn.covariance import ledoit_wolf

    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"need features of one width, not {a.shape} and {b.shape}")
    if min(len(a), len(b)) < 2:
        return math.nan
    cov_a, cov_b = ledoit_wolf(a)[0], ledoit_wolf(b)[0]
    values, vectors = np.linalg.eigh(cov_a)
    root_a = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root_a @ cov_b @ root_a).clip(min=0)).sum()
    shift = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    return float(max(0.0, shift + np.trace(cov_a) + np.trace(cov_b) - 2 * cross))
