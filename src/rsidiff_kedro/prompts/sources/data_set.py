"""Open Hugging Face data sets that hold all of their files themselves."""

import dataclasses
import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import yaml
from huggingface_hub import DatasetCard, is_offline_mode

import datasets
from rsidiff_kedro.core.hub import hub_file, keep_names
from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.paths import is_hidden, lies_inside
from rsidiff_kedro.core.untrusted.pointers import POINTER, is_pointer
from rsidiff_kedro.core.untrusted.tables import SUFFIXES
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.prompts.sources.data_set_rows import open_typed, read_opened, read_tables
from rsidiff_kedro.prompts.sources.folder_builder import folder_builder
from rsidiff_kedro.prompts.sources.kept_data_set import Kept, kept_builder, kept_data_set
from rsidiff_kedro.prompts.sources.saved_data_set import (
    STATE,
    Place,
    arrow_files,
    check_split,
    open_saved,
    stated_files,
)
from rsidiff_kedro.prompts.sources.source import PromptSourceError, tell_missing_parts

logger = logging.getLogger(__name__)

SELF_CONTAINED = frozenset({"arrow", "csv", "json", "parquet", "text", "xml", "webdataset"}) | {
    f"{kind}folder" for kind in ("audio", "image", "video")
}
"""Readers of `datasets` whose files hold their rows themselves; those of others, such as HDF5, can name other files."""
README = "README.md"
LAYOUTS = (README, ".huggingface.yaml")
"""Files of a folder that tell `datasets` what to read."""
OPTIONS = frozenset({"name", "version", "data_dir", "data_files", "description", "features", "sep", "delimiter"})
"""Options of a data set of CSV files that leave its rows as they are."""
LOSING = ("filters", "on_bad_files", "encoding_errors")
"""Options of other kinds that leave out rows or characters."""
TABLES = {"json": (".json", ".jsonl", ".ndjson"), "text": (".txt",), "parquet": (".parquet",)}
"""Suffixes of files, besides CSV, that are read as any other file of prompts."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""Names of the tables of a folder of media, if its description gives no others."""
GUESSED = (".csv", ".jsonl")
"""Suffixes of such tables that `datasets` reads by guessing types."""


def open_data_set(
    name: str,
    wanted: Sequence[str],
    is_folder: bool,
    config_name: str | None,
    split: str,
    revision: str | None,
    limit: int | None,
) -> "pd.DataFrame | datasets.Dataset | datasets.IterableDataset":
    """Return a split of a data set, after a check that every file of it lies in its folder or its repository.

    Files of text, JSON and CSV are read as any other file of prompts, which guesses no types: they give the wanted
    columns alone, as a table with the names of classes. Those of Parquet and Arrow have one type in all files. The rest
    is read by `datasets`. It is not asked what a data set that `save_to_disk` has written consists of, which its own
    files say, unless a description says otherwise.

    Args:
        limit: rows after which no further file is opened; None for all.

    Raises:
        PromptSourceError: it names a file elsewhere, is of a kind that could, or its files cannot be read.
        OSError, ValueError, RuntimeError: `datasets` or the hub's client cannot read it.
    """
    kept = None if is_folder or not is_offline_mode() else kept_data_set(name, revision)
    if kept is not None:
        name, is_folder = str(kept.folder), True
    for layout in LAYOUTS if is_folder else ():
        _check_layout(Path(name), layout)
    place = Place(name, revision, is_folder, kept)
    is_described = any(_patterns(path) for layout in LAYOUTS if (path := place.file(layout)))
    saved = None if is_described else open_saved(place, wanted, config_name, split, limit)
    if saved is not None:
        if is_folder:
            _tell_unread(Path(name), [])
        return saved
    return _open_found(place, wanted, config_name, split, limit, is_described)


def _open_found(
    place: Place, wanted: Sequence[str], config_name: str | None, split: str, limit: int | None, is_described: bool
) -> "pd.DataFrame | datasets.Dataset | datasets.IterableDataset":
    """Return a split of a data set whose files and kind `datasets` finds, by its description or by their names."""
    name, is_folder, kept = place.name, place.is_folder, place.kept
    builder = _builder(name, is_folder, config_name, place.revision, kept)
    kinds = _kinds(builder, name)
    named = _named_files(builder, name, is_folder, kept)
    check_split(name, split, builder.config.data_files or {})
    tell_missing_parts(name, named)
    _check_options(name, builder.config, "csv" in kinds)
    if is_folder:
        _tell_unread(Path(name), named)
    if "arrow" in kinds:
        return _open_arrow(place, builder, wanted, split, limit, is_described)
    files = _tables(builder, kinds, split, wanted)
    if _has_metadata(builder, kinds) and ((is_folder and kept is None) or limit is None or not files):
        _check_archives(builder, builder.config.data_files[split], name, is_folder, kept)
    if not is_folder and (files or limit is None):  # what is streamed is not kept
        _keep(name, place.revision, files or named, named if files and limit is None else [])
    if kept is not None and (limit is None or not files):
        kept.check(files or [path for paths in builder.config.data_files.values() for path in paths])
    if files:
        places = (_local(path, name, is_folder, kept) for path in files)
        if "parquet" in kinds:
            rows = open_typed(places, wanted, limit, builder.info.features)
        else:
            rows = read_tables(places, wanted, limit, builder.info.features, getattr(builder.config, "sep", None))
    elif is_folder:
        rows = read_opened(builder.as_streaming_dataset(split=split), wanted, limit, name)
    elif limit is not None:
        return builder.as_streaming_dataset(split=split)
    else:
        builder.download_and_prepare()
        return builder.as_dataset(split=split)
    if limit is None and "text" not in kinds:
        _tell_lost(rows, builder, split, name)
    return rows


def _kinds(builder: Any, name: str) -> set[str]:
    """Return the names of the modules of a reader's classes; raise PromptSourceError if none is `SELF_CONTAINED`."""
    kinds = {each.__module__.rpartition(".")[2] for each in type(builder).__mro__}
    if not kinds & SELF_CONTAINED:
        raise PromptSourceError(
            f"{name}: a data set of a kind whose files can name other files ({type(builder).__name__}); save it as "
            "Parquet, JSON, CSV or text"
        )
    return kinds


def _open_arrow(
    place: Place, builder: Any, wanted: Sequence[str], split: str, limit: int | None, is_described: bool
) -> "datasets.Dataset":
    """Return the rows of the Arrow files that `datasets` takes for a split, without caches."""
    folder = place.name if place.kept else os.path.realpath(place.name)  # as `datasets` names files
    names = [
        os.path.relpath(path, folder) if place.is_folder else _inside(path, place.name)[1]
        for path in builder.config.data_files[split]
    ]
    names = stated_files(place, names, split, is_described)
    rows = open_typed(arrow_files(place, names), wanted, limit, builder.info.features)
    if limit is None:
        _tell_lost(rows, builder, split, place.name)
    return rows


def _named_files(builder: Any, name: str, is_folder: bool, kept: Kept | None) -> list[str]:
    """Return the paths of a data set's files, after a check that each lies in it and is no pointer of git-lfs.

    Files that the hub's cache lacks are left out.

    Raises:
        PromptSourceError: one does not.
    """
    named = [path for paths in (builder.config.data_files or {}).values() for path in paths]
    named = [path for path in named if kept is None or kept.is_there(path)]
    for path in named:
        if not _belongs(path, name, is_folder):
            raise PromptSourceError(
                f"{name}: its file {path!r} lies elsewhere, or is hidden; put the file itself into the "
                "data set under a name without a dot before it, or remove its name"
            )
        if is_folder and is_pointer(Path(path)):
            raise PromptSourceError(f"{path}: it is {POINTER}")
    return named


def _builder(name: str, is_folder: bool, config_name: str | None, revision: str | None, kept: Kept | None) -> Any:
    """Return the reader that `datasets` chooses.

    Raises:
        ConnectionError: the hub has failed, so that `datasets` would read what it has once prepared, which may be
            another configuration, or read in another way.
        OSError, ValueError, RuntimeError: it cannot be read.
    """
    try:
        if kept is not None:
            return kept_builder(kept, config_name)
        if is_folder:
            return folder_builder(Path(os.path.realpath(name)), config_name)
        builder = datasets.load_dataset_builder(name, config_name, revision=revision)
    except zipfile.BadZipFile as error:
        raise ValueError(f"an archive is no valid .zip file: {error}") from error
    except (TypeError, KeyError, AttributeError) as error:  # a number, such as in `configs: [1]`
        raise ValueError(f"its description is none that `datasets` understands: {reason(error)}") from error
    if type(builder).__module__.endswith(".cache.cache"):
        raise ConnectionError("the hub did not return its files; try again, or set HF_HUB_OFFLINE=1 to use its cache")
    return builder


def _tell_unread(folder: Path, named: Sequence[str]) -> None:
    """Count the tables in a folder that `datasets` passes over, as it does with all but the most frequent kind."""
    read = {os.path.realpath(path) for path in named}
    tables = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
    unread = [
        each
        for each in tables
        if os.path.realpath(each) not in read
        and each.name not in (STATE, *datasets.data_files.FILES_TO_IGNORE)
        and not is_hidden(os.path.relpath(each, folder))
    ]
    if unread:
        logger.warning(
            printable(
                f"{folder}: not read: {len(unread)} of its tables ({unread[0].relative_to(folder)} first), because its "
                "description does not name them, or they are of another kind, or not named by a split as others are"
            )
        )


def _tell_lost(rows: "pd.DataFrame | datasets.Dataset", builder: Any, split: str, name: str) -> None:
    """Warn if a split has other rows than its description declares, as in a file that was cut between two of them."""
    declared = getattr((builder.info.splits or {}).get(split), "num_examples", 0)
    if declared not in (0, len(rows)):
        logger.warning(
            printable(
                f"{name}: its description declares {declared} rows of {split}, and {len(rows)} are there; download it "
                "again, or correct its description"
            )
        )


def _changed(config: Any) -> list[str]:
    """Return the options of a data set's reader that its description sets, apart from those that name its files."""
    usual = type(config)()
    names = [option.name for option in dataclasses.fields(config) if option.name not in OPTIONS]
    return [name for name in names if getattr(config, name) != getattr(usual, name)]


def _check_options(name: str, config: Any, is_csv: bool) -> None:
    """Refuse options that leave out rows and, for CSV, that change what stands in them."""
    for option in _changed(config):
        if is_csv or option in LOSING:
            raise PromptSourceError(
                f"{name}: its description sets {option!r} of its {'CSV ' * is_csv}files, which can change their rows; "
                f"remove that{', and save the files with commas, or tabs, and a header' * is_csv}"
            )
    if is_csv and (len(config.sep) != 1 or config.sep in '"\r\n '):
        raise PromptSourceError(
            f"{name}: the separator {config.sep!r} of its CSV files; use one character, such as ';'"
        )


def _tables(builder: Any, kinds: set[str], split: str, wanted: Sequence[str]) -> list[str]:
    """Return the files of a split that are read as files of prompts; none if `datasets` is to read them."""
    found = list(builder.config.data_files[split])
    if _has_metadata(builder, kinds):  # of which `datasets` makes all columns
        return _metadata(builder, found)
    if "csv" in kinds:
        return found
    for kind, suffixes in TABLES.items():
        if kind in kinds and not _changed(builder.config) and (kind != "text" or [*wanted] == ["text"]):
            return found if all(path.lower().endswith(suffixes) for path in found) else []
    return []


def _has_metadata(builder: Any, kinds: set[str]) -> bool:
    """Tell whether a data set is a folder of media whose tables are read."""
    return any(kind.endswith("folder") for kind in kinds) and not builder.config.drop_metadata


def _metadata(builder: Any, paths: Sequence[str]) -> list[str]:
    """Return those files of a folder of media that are tables which `datasets` would read by guessing types."""
    names = getattr(builder.config, "metadata_filenames", None) or METADATA
    return [path for path in paths if path.rpartition("/")[2] in names and path.endswith(GUESSED)]


def _check_archives(builder: Any, paths: Sequence[str], name: str, is_folder: bool, kept: Kept | None) -> None:
    """Refuse archives of media that hold a table, which `datasets` would read by guessing types."""
    for path in paths:
        if not path.lower().endswith(".zip"):
            continue
        try:
            with zipfile.ZipFile(_local(path, name, is_folder, kept)) as archive:
                tables = _metadata(builder, archive.namelist())
        except zipfile.BadZipFile as error:
            raise PromptSourceError(f"{path}: no valid .zip file ({reason(error)}); pack it again") from None
        if tables:
            raise PromptSourceError(
                f"{path}: its table {tables[0]!r} lies in an archive, where no prompts are read; unpack the archive"
            )


def _local(path: str, name: str, is_folder: bool, kept: Kept | None = None) -> Path:
    """Return the place of a data file; one of the hub is downloaded, or has to be in its cache."""
    if kept is not None:
        kept.check([path])
    if is_folder:
        return Path(path)
    revision, inside = _inside(path, name)
    return Path(hub_file(name, inside, revision, "dataset"))


def _keep(name: str, revision: str | None, read: Sequence[str], more: Sequence[str]) -> None:
    """Download the first file that is read, and more, so that the hub's cache has them and the names of all files.

    Args:
        more: files of all splits, so that the cache has what the description names.
    """
    for path in read[:1]:
        keep_names(name, _inside(path, name)[1], revision, "dataset")
    for path in more:
        _local(path, name, is_folder=False)


def _inside(path: str, name: str) -> tuple[str | None, str]:
    """Return the revision of a data file of the hub, and its name in the repository."""
    rest = path.removeprefix(f"hf://datasets/{name}")
    revision, _, inside = rest[1:].partition("/") if rest.startswith("@") else ("", "", rest[1:])
    return unquote(revision) or None, inside


def _belongs(path: str, name: str, is_folder: bool) -> bool:
    """Tell whether a data file that `datasets` has found is one of the data set."""
    if not is_folder:
        return "::" not in path and path.startswith((f"hf://datasets/{name}@", f"hf://datasets/{name}/"))
    return "::" not in path and "://" not in path and lies_inside(Path(name), path)


def _check_layout(folder: Path, layout: str) -> None:
    """Check a folder's description before `datasets` follows it, which could already reach a server."""
    path = folder / layout
    if not os.path.lexists(path):
        return
    if not lies_inside(folder, layout):
        raise PromptSourceError(f"{path}: no file of the data set; put a file there, or remove it")
    for pattern in _patterns(path):
        if os.path.isabs(pattern) or "://" in pattern or "::" in pattern or ".." in Path(pattern).parts:
            raise PromptSourceError(
                f"{path} names {pattern!r}; name files of the data set alone, by paths relative to its folder"
            )


def _patterns(path: Path) -> list[str]:
    """Return the names of files and folders that a description, one of `LAYOUTS`, tells `datasets` to read."""
    try:
        text = path.name == README
        card = DatasetCard.load(path).data.to_dict() if text else yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, RecursionError) as error:
        raise PromptSourceError(f"{path}: no valid YAML ({reason(error)}); correct or remove it") from None
    configs = card.get("configs") if isinstance(card, dict) else None
    configs = [config for config in configs if isinstance(config, dict)] if isinstance(configs, list) else []
    return [*_texts([[config.get("data_files"), config.get("data_dir")] for config in configs])]


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
