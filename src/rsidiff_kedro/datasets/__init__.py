"""Kedro datasets of the project's own: image sets and adapters, versioned, written atomically, with previews."""

from rsidiff_kedro.datasets.adapter import AdapterDataset
from rsidiff_kedro.datasets.image_set import ImageSetDataset

__all__ = ["AdapterDataset", "ImageSetDataset"]
