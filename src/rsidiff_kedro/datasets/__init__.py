"""Kedro datasets of the project's own: image sets, adapters and networks, versioned and written atomically."""

from rsidiff_kedro.datasets.adapter import AdapterDataset
from rsidiff_kedro.datasets.image_set import ImageSetDataset
from rsidiff_kedro.datasets.pretrained import PretrainedDataset

__all__ = ["AdapterDataset", "ImageSetDataset", "PretrainedDataset"]
