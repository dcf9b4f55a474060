"""Print digests of the newest version of every dataset: compare them before and after a change that should change none.

    python benchmarks/digests.py data/test > before.txt     # then change the code and run again
    python benchmarks/digests.py data/test | diff before.txt -

Images count by their pixels, tables and tensors by their values, so another writer of the same content has the same
digest. Intervals are left out: `--intervals` counts them too.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.numpy import load_file

VERSION = re.compile(r"\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d\.\d{3}Z")
ENDS = ("_low", "_high")


def main() -> None:
    """Print one line per dataset or file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--intervals", action="store_true")
    given = parser.parse_args()
    newest: dict[Path, Path] = {}
    for folder in sorted(given.data.glob("0*/**/*Z")):
        if VERSION.fullmatch(folder.name):
            newest[folder.parent] = folder
    for dataset, folder in sorted(newest.items()):
        files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".png"]
        pictures = [path for path in sorted(folder.rglob("*.png"))]
        name = dataset.relative_to(given.data)
        for path in files:
            print(name, path.name, digest(content(path, given.intervals)))  # noqa: T201
        if pictures:
            pixels = b"".join(path.name.encode() + np.asarray(Image.open(path)).tobytes() for path in pictures)
            print(name, f"{len(pictures)} images", digest(pixels))  # noqa: T201


def content(path: Path, intervals: bool) -> bytes:
    """Return a file's content without what depends on its writer."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        kept = [name for name in sorted(table.columns) if intervals or not name.endswith(ENDS)]
        return table[kept].to_csv(index=False, float_format="%.17g").encode()
    if path.suffix == ".safetensors":
        tensors = load_file(path)
        return b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))
    if path.suffix == ".json" and not intervals:
        values = json.loads(path.read_text(encoding="utf-8"))
        kept = {name: value for name, value in values.items() if not name.endswith(ENDS)}
        return json.dumps(kept, sort_keys=True).encode()
    return path.read_bytes()


def digest(data: bytes) -> str:
    """Return 16 hex digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


if __name__ == "__main__":
    main()
