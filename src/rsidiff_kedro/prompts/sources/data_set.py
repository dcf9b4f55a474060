"""Open Hugging Face data sets that hold all of their files themselves."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import DatasetCard

import datasets
from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.paths import lies_inside
from rsidiff_kedro.core.untrusted.text_tables import TableError, check_quoting
from rsidiff_kedro.prompts.sources.source import PromptSourceError

SELF_CONTAINED = frozenset({"arrow", "cache", "csv", "json", "parquet", "text", "xml", "webdataset"}) | {
    f"{kind}folder" for kind in ("audio", "image", "video")
}
"""Readers of `datasets` whose files hold their rows themselves; those of others, such as HDF5, can name other files."""
README = "README.md"
LAYOUTS = (README, ".huggingface.yaml")
"""Files of a folder that tell `datasets` what to read."""


def open_data_set(
    name: str, is_folder: bool, config_name: str | None, split: str, revision: str | None, streaming: bool
) -> "datasets.Dataset | datasets.IterableDataset":
    """Return a split of a data set, after a check that every file of it lies in its folder or its repository.

    Raises:
        PromptSourceError: it names a file elsewhere, or is of a kind that could.
        OSError, ValueError, RuntimeError: `datasets` or the hub's client cannot read it.
    """
    if is_folder:
        for layout in LAYOUTS:
            _check_layout(Path(name), layout)
    builder = datasets.load_dataset_builder(name, config_name, revision=revision)
    kinds = {each.__module__.rpartition(".")[2] for each in type(builder).__mro__}
    if not kinds & SELF_CONTAINED:
        raise PromptSourceError(
            f"{name}: a data set of a kind whose files can name other files ({type(builder).__name__}); save it as "
            "Parquet, JSON, CSV or text"
        )
    for path in [path for paths in (builder.config.data_files or {}).values() for path in paths]:
        if not _belongs(path, name, is_folder):
            raise PromptSourceError(
                f"{name}: its file {path!r} lies elsewhere; put the file itself into the data set, or remove its name"
            )
        if is_folder and "csv" in kinds:
            _check_quoting(Path(path), builder.config)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _check_quoting(path: Path, config: Any) -> None:
    """Check a CSV file that `datasets` reads with pandas, which makes one row of all between two quotation marks."""
    usual = config.quoting == csv.QUOTE_MINIMAL and config.encoding in (None, "utf-8") and len(config.sep) == 1
    if usual and path.suffix.lower() in (".csv", ".tsv"):
        try:
            check_quoting(path.read_bytes(), config.sep)
        except TableError as error:
            raise PromptSourceError(f"{path}: {error}; or read the file with kind: file") from None


def _belongs(path: str, name: str, is_folder: bool) -> bool:
    """Tell whether a data file that `datasets` has found is one of the data set."""
    if not is_folder:
        return path.startswith((f"hf://datasets/{name}@", f"hf://datasets/{name}/"))
    return "::" not in path and "://" not in path and lies_inside(Path(name), path)


def _check_layout(folder: Path, layout: str) -> None:
    """Check a folder's description before `datasets` follows it, which could already reach a server."""
    path = folder / layout
    if not os.path.lexists(path):
        return
    if not lies_inside(folder, layout):
        raise PromptSourceError(f"{path}: no file of the data set; put a file there, or remove it")
    try:
        card = DatasetCard.load(path).data.to_dict() if layout == README else yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, RecursionError) as error:
        raise PromptSourceError(f"{path}: no valid YAML ({reason(error)}); correct or remove it") from None
    configs = card.get("configs") if isinstance(card, dict) else None
    for config in configs if isinstance(configs, list) else []:
        for pattern in _texts([config.get("data_files"), config.get("data_dir")] if isinstance(config, dict) else []):
            if os.path.isabs(pattern) or "://" in pattern or "::" in pattern or ".." in Path(pattern).parts:
                raise PromptSourceError(
                    f"{path} names {pattern!r}; name files of the data set alone, by paths relative to its folder"
                )


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a value, at any depth; a part that YAML's aliases repeat is looked at once."""
    waiting, seen = [value], set()
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict | list) and id(part) not in seen:
            seen.add(id(part))
            waiting += part.values() if isinstance(part, dict) else part
