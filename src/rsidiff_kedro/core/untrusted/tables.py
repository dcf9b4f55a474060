"""Read Parquet files that may be damaged or hostile."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rsidiff_kedro.core.untrusted.loading import reason


class TableError(ValueError):
    """A Parquet file that cannot be read; the message says why in one line."""


def read_parquet(path: Path) -> pd.DataFrame:
    """Read a Parquet file and check that texts are UTF-8 and that no offset points outside its column.

    pandas' own metadata, such as an index, is ignored: it decides which code reads the columns.

    Raises:
        TableError: the file cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
        return table.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: an unknown time zone
        raise TableError(reason(error)) from error
