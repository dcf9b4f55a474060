"""Kedro datasets of the project: image sets, adapters, networks, and files; versioned and written atomically."""

from rsidiff_kedro.datasets.adapter import AdapterDataset
from rsidiff_kedro.datasets.files import JSONDataset, ParquetDataset, PlotlyDataset, TextDataset
from rsidiff_kedro.datasets.image_set import ImageSetDataset
from rsidiff_kedro.datasets.pretrained import PretrainedDataset

__all__ = [
    "AdapterDataset",
    "ImageSetDataset",
    "JSONDataset",
    "ParquetDataset",
    "PlotlyDataset",
    "PretrainedDataset",
    "TextDataset",
]
