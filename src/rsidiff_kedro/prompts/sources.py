"""Where prompts come from: the scenes grammar or a file."""

import io
import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from rsidiff_kedro.errors import InputError
from rsidiff_kedro.prompts.table import PromptCountError, prompt_table
from rsidiff_kedro.scenes.grammar import (
    ANNOTATED,
    HELD_OUT,
    Scene,
    bucket,
    sample_distinct_scenes,
    single_object_scenes,
)

CATEGORIES = {1: "one_object", 2: "two_objects"}
SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")


class PromptFileError(InputError):
    """A file of prompts cannot be read; the message says why in one line."""


class GrammarSource(BaseModel):
    """Captions of the scenes grammar.

    Attributes:
        count: prompts for the pool. Captions of one object run out at 123: the pool takes as many of them as its
            share asks for and there are, and captions of two objects for the rest.
        evaluation_count: prompts for validation and test, at the share below exactly; there are 204 captions of
            one object for them, enough for 340 at a share of 0.4.
        two_objects: the share of captions with two objects, in [0, 1].
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["grammar"] = "grammar"
    # Captions of two objects are drawn until enough differ; 10,000 is well below the 17,000 there are for the pool.
    count: int = Field(default=400, ge=1, le=10_000)
    evaluation_count: int = Field(default=340, ge=2, le=10_000)
    two_objects: float = Field(default=0.4, ge=0, le=1)


class FileSource(BaseModel):
    """Prompts of a file in UTF-8 or Parquet.

    Attributes:
        path: a .txt file (one prompt a line), .csv, .tsv, .jsonl or .parquet.
        column: the column, or key, that holds the prompts; unused for .txt.
        category_column: the column of categories, in whose proportions prompts are split; None for no categories.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["file"] = "file"
    path: Path
    column: str = "text"
    category_column: str | None = None


PromptSource = Annotated[GrammarSource | FileSource, Field(discriminator="kind")]


def collect_prompts(source: GrammarSource | FileSource, seed: int) -> pd.DataFrame:
    """The prompts of a source, as a prompt table.

    Those of the grammar carry the split "evaluation" or "pool", cut so that the embedded base never saw an
    evaluation caption, and a category (`CATEGORIES`); those of a file carry the split "".

    Raises:
        PromptFileError: the file cannot be read.
        PromptCountError: the grammar has fewer captions of one object than asked for.
    """
    if isinstance(source, FileSource):
        return _read_prompts(source)
    evaluation = _draw_scenes(source, "evaluation", seed)
    pool = _draw_scenes(source, "pool", seed)
    parts = []
    for split, scenes in (("evaluation", evaluation), ("pool", pool)):
        categories = [CATEGORIES[len(scene.objects)] for scene in scenes]
        parts.append(prompt_table([scene.caption for scene in scenes], "grammar", categories, split))
    return pd.concat(parts, ignore_index=True)


def check_source(source: GrammarSource | FileSource) -> None:
    """Find out before anything is spent whether `collect_prompts` will succeed.

    Raises:
        PromptFileError: as `collect_prompts`.
        PromptCountError: as `collect_prompts`.
    """
    collect_prompts(source, seed=0)


def _draw_scenes(source: GrammarSource, split: str, seed: int) -> list[Scene]:
    for_evaluation = split == "evaluation"
    name, wanted = ("evaluation_count", source.evaluation_count) if for_evaluation else ("count", source.count)

    def belongs(scene: Scene) -> bool:
        return bucket(scene) < HELD_OUT if for_evaluation else bucket(scene) >= ANNOTATED

    n_two = round(wanted * source.two_objects)
    available = sum(belongs(scene) for scene in single_object_scenes())
    if not for_evaluation and n_two:
        n_two = max(n_two, wanted - available)
    n_one = wanted - n_two
    if n_one > available:
        raise PromptCountError(
            f"`source.{name}` = {wanted} at `two_objects` = {source.two_objects} needs {n_one} captions of one object "
            f"for the {split}, but there are {available}; lower `{name}` or raise `two_objects`"
        )
    rng = np.random.default_rng([seed, 0 if for_evaluation else 1])
    scenes: list[Scene] = []
    for n_objects, number in ((1, n_one), (2, n_two)):
        scenes += islice(filter(belongs, sample_distinct_scenes(rng, n_objects)), number)
    return scenes


def _read_prompts(source: FileSource) -> pd.DataFrame:
    path = source.path
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise PromptFileError(f"{path}: unknown kind of prompt file {suffix!r}; use one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise PromptFileError(f"{path}: no such file; set `prompt_curation.source.path` to a file of prompts")
    rows = _read_parquet(path) if suffix == ".parquet" else _read_text(path, suffix, source.column)
    if rows.empty:
        raise PromptFileError(f"{path}: the file holds no prompt; give at least one")
    columns = [source.column] if suffix != ".txt" else []
    if source.category_column:
        columns.append(source.category_column)
    for column in columns:
        if column not in rows.columns:
            raise PromptFileError(f"{path}: no column {column!r}; there are {', '.join(map(str, rows.columns))}")
    rows = rows.astype(object).where(rows.notna(), "").astype(str)
    category = rows[source.category_column].tolist() if source.category_column else ""
    return prompt_table(rows[source.column].tolist(), path.name, category)


def _read_text(path: Path, suffix: str, column: str) -> pd.DataFrame:
    """Rows of a text file; for .txt the one column is named `column`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptFileError(
            f"{path}: not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}); save it as UTF-8"
        ) from None
    if not text.strip():
        raise PromptFileError(f"{path}: the file is empty; give at least one prompt")
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if suffix == ".txt":
        return pd.DataFrame({column: lines})
    if suffix == ".jsonl":
        return _parse_json_lines(path, lines)
    try:
        return pd.read_csv(io.StringIO(text), sep="\t" if suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    except pd.errors.ParserError as error:
        reason = " ".join(str(error).split())
        raise PromptFileError(
            f"{path}: no sound {suffix[1:]} ({reason}); quote prompts that hold the separator"
        ) from None


def _parse_json_lines(path: Path, lines: list[str]) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise PromptFileError(f"{path}: line {number} is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise PromptFileError(f'{path}: line {number} is no JSON object; write {{"text": "a prompt"}}')
        rows.append(row)
    return pd.DataFrame(rows)


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's own errors derive from these
        raise PromptFileError(f"{path}: no sound Parquet file ({' '.join(str(error).split())})") from None
