"""kedro-datasets' files of one kind or another, each of which appears as a whole or not at all."""

import os
import uuid
from pathlib import Path, PurePosixPath
from typing import Any

from kedro_datasets.json import JSONDataset as PlainJSONDataset
from kedro_datasets.pandas import ParquetDataset as PlainParquetDataset
from kedro_datasets.plotly import JSONDataset as PlainPlotlyDataset
from kedro_datasets.text import TextDataset as PlainTextDataset


class WholeFile:
    """Mixin of a dataset of one local file: it is written under a temporary name beside its place and then renamed."""

    _partial: PurePosixPath | None = None

    def save(self, data: Any) -> None:
        """Save as the dataset does that this is mixed into."""
        target = Path(super()._get_save_path())  # type: ignore[misc]
        self._partial = PurePosixPath(target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial"))
        try:
            # Kedro wraps every `save`; the wrapper of this one is enough, that one would look for the file too early.
            super().save.__func__.__wrapped__(self, data)  # type: ignore[misc]
            os.replace(self._partial, target)
        finally:
            Path(self._partial).unlink(missing_ok=True)
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
