"""Open Hugging Face data sets that hold all of their files themselves."""

import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from huggingface_hub import DatasetCard

import datasets
from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.paths import lies_inside
from rsidiff_kedro.core.untrusted.tables import TableError, read_rows
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.core.untrusted.text_tables import SEPARATORS
from rsidiff_kedro.prompts.sources.source import PromptSourceError

logger = logging.getLogger(__name__)

SELF_CONTAINED = frozenset({"arrow", "cache", "csv", "json", "parquet", "text", "xml", "webdataset"}) | {
    f"{kind}folder" for kind in ("audio", "image", "video")
}
"""Readers of `datasets` whose files hold their rows themselves; those of others, such as HDF5, can name other files."""
README = "README.md"
LAYOUTS = (README, ".huggingface.yaml")
"""Files of a folder that tell `datasets` what to read."""
OPTIONS = frozenset({"name", "version", "data_dir", "data_files", "description", "features", "sep", "delimiter"})
"""Options of a data set of CSV files that leave its rows as they are."""


def open_data_set(
    name: str,
    wanted: Sequence[str],
    is_folder: bool,
    config_name: str | None,
    split: str,
    revision: str | None,
    streaming: bool,
) -> "datasets.Dataset | datasets.IterableDataset":
    """Return a split of a data set, after a check that every file of it lies in its folder or its repository.

    CSV in a folder is read as any other file of prompts, and gives the wanted columns alone.

    Raises:
        PromptSourceError: it names a file elsewhere, is of a kind that could, or its CSV cannot be read.
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
    if "csv" in kinds:
        _check_options(name, builder.config)
        if is_folder:
            return _read_separated(name, builder, split, wanted)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare()
    return builder.as_dataset(split=split)


def _check_options(name: str, config: Any) -> None:
    """Refuse options of a CSV file's reader that leave out rows or change what stands in them."""
    usual = type(config)()
    for option in dataclasses.fields(config):
        if option.name not in OPTIONS and getattr(config, option.name) != getattr(usual, option.name):
            raise PromptSourceError(
                f"{name}: its description sets {option.name!r} of its CSV files, which can change their rows; remove "
                "that, and save the files with commas, or tabs, and a header"
            )
    if len(config.sep) != 1 or config.sep in '"\r\n ':
        raise PromptSourceError(
            f"{name}: the separator {config.sep!r} of its CSV files; use one character, such as ';'"
        )


def _read_separated(name: str, builder: Any, split: str, wanted: Sequence[str]) -> "datasets.Dataset":
    """Read the CSV files of a split with the reader of `kind: file`, which changes no field."""
    files = builder.config.data_files or {}
    if split not in files:
        raise PromptSourceError(f"{name}: no split {split!r}; there are {', '.join(map(str, files))}")
    tables = []
    for path in map(Path, files[split]):
        if path.suffix.lower() not in SEPARATORS:
            raise PromptSourceError(
                f"{path}: CSV in a file of the kind {path.suffix!r}; unpack it, and name it {' or '.join(SEPARATORS)}"
            )
        try:
            table = read_rows(path, wanted, builder.config.sep)
        except TableError as error:
            raise PromptSourceError(f"{path}: {error}") from None
        for note in table.notes:
            logger.warning(printable(f"{path}: {note}"))
        tables.append(table.rows)
    rows, declared = pd.concat(tables, ignore_index=True), builder.info.features or {}
    classes = [column for column in rows if isinstance(declared.get(column), datasets.ClassLabel)]
    features = {column: declared[column] if column in classes else datasets.Value("large_string") for column in rows}
    columns = {
        column: [text or None for text in rows[column]] if column in classes else list(rows[column]) for column in rows
    }
    return datasets.Dataset.from_dict(columns, datasets.Features(features))


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
