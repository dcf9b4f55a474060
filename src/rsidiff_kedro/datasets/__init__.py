"""Kedro datasets of the project: image sets, training sets, adapters, networks, votes, files. Each appears whole."""

from rsidiff_kedro.datasets.adapter_folder import AdapterDataset
from rsidiff_kedro.datasets.files import JSONDataset, ParquetDataset, PlotlyDataset, TextDataset
from rsidiff_kedro.datasets.image_folder import ImageSetDataset, TrainingSetDataset
from rsidiff_kedro.datasets.pretrained import PretrainedDataset
from rsidiff_kedro.datasets.votes import VotesDataset

__all__ = [
    "AdapterDataset",
    "ImageSetDataset",
    "JSONDataset",
    "ParquetDataset",
    "PlotlyDataset",
    "PretrainedDataset",
    "TextDataset",
    "TrainingSetDataset",
    "VotesDataset",
]
