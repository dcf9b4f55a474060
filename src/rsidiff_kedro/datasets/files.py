"""Store single files with kedro-datasets, each of which appears whole or not at all."""

from pathlib import Path, PurePosixPath
from typing import Any

from kedro_datasets.json import JSONDataset as PlainJSONDataset
from kedro_datasets.pandas import ParquetDataset as PlainParquetDataset
from kedro_datasets.plotly import JSONDataset as PlainPlotlyDataset
from kedro_datasets.text import TextDataset as PlainTextDataset

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.datasets.folder import LocalVersions


class WholeFile(LocalVersions):
    """Mixin for a dataset of one local file: write under a temporary name in the same folder, then rename."""

    _partial: PurePosixPath | None = None

    def save(self, data: Any) -> None:
        """Save as the other base class does."""
        with replacing(Path(super()._get_save_path())) as partial:  # type: ignore[misc]
            self._partial = PurePosixPath(partial)
            try:
                # Kedro wraps every `save`. This class's wrapper is enough; the other's would look for the file early.
                super().save.__func__.__wrapped__(self, data)  # type: ignore[misc]
            finally:
                self._partial = None

    def _get_save_path(self) -> PurePosixPath:
        return self._partial or super()._get_save_path()  # type: ignore[misc]


class ParquetDataset(WholeFile, PlainParquetDataset):
    """A table of pandas as Parquet."""


class JSONDataset(WholeFile, PlainJSONDataset):
    """JSON."""


class TextDataset(WholeFile, PlainTextDataset):
    """A text."""


class PlotlyDataset(WholeFile, PlainPlotlyDataset):
    """A figure of plotly as JSON."""
