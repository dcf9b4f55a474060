"""Store single files with kedro-datasets, each of which appears whole or not at all."""

import os
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from kedro.io.core import Version
from kedro_datasets.json import JSONDataset as PlainJSONDataset
from kedro_datasets.pandas import ParquetDataset as PlainParquetDataset
from kedro_datasets.plotly import JSONDataset as PlainPlotlyDataset
from kedro_datasets.text import TextDataset as PlainTextDataset

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.datasets.folder import LocalVersions


class WholeFile(LocalVersions):
    """Mixin for a dataset of one local file: write under a temporary name in the same folder, then rename."""

    own_files = ()
    _partial: PurePosixPath | None = None

    def __init__(self, *, filepath: str | os.PathLike[str], version: Version | None = None, **kwargs: Any) -> None:
        self._local_path(filepath, "a file", version)
        super().__init__(filepath=filepath, version=version, **kwargs)  # type: ignore[call-arg]

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


class WholeText(WholeFile):
    """Mixin for a dataset of one text: UTF-8 whatever the locale."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_load": {"mode": "r", "encoding": "utf-8"},
        "open_args_save": {"mode": "w", "encoding": "utf-8"},
    }


class ParquetDataset(WholeFile, PlainParquetDataset):
    """A table of pandas as Parquet."""


class JSONDataset(WholeText, PlainJSONDataset):
    """JSON."""


class TextDataset(WholeText, PlainTextDataset):
    """A text."""


class PlotlyDataset(WholeText, PlainPlotlyDataset):
    """A figure of plotly as JSON."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = WholeText.DEFAULT_FS_ARGS | {"open_args_load": {"mode": "rb"}}
