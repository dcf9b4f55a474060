"""Reading Parquet that somebody else may have made or damaged."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq


class TableError(ValueError):
    """A file is no sound Parquet file; the message says why, in one line."""


def read_parquet(path: Path) -> pd.DataFrame:
    """The columns of a Parquet file, checked to be whole: texts are UTF-8, nothing points outside of its column.

    What pandas adds to a file of its own, such as an index, is not read: it decides which code takes the columns apart.

    Raises:
        TableError: the file cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
        return table.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:  # KeyError: of a time zone that is none
        raise TableError(" ".join(str(error).split())[:300] or type(error).__name__) from error
