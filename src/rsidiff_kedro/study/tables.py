"""Keep what a study's runs measured in three small tables, from which its page can be written again."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import check_can_make, replacing
from rsidiff_kedro.core.untrusted.tables import read_parquet
from rsidiff_kedro.evaluation.diversity import open_diversity

RUN = ["arm", "seed", "round"]
IMAGE = [*RUN, "prompt_id", "sample_index"]
VERDICTS = ("correct", "attribute_accuracy", "hallucinated")
"""Columns of the judge, where there is one; all others of an image are rewards."""


@dataclass(frozen=True)
class Tables:
    """Hold what the runs measured.

    Attributes:
        images: a row per evaluated image: `IMAGE`, the judge's `VERDICTS`, and a column per reward.
        prompts: a row per prompt with two right samples or more: `RUN`, prompt_id, diversity; empty without a judge.
        metrics: a row per round and metric: `RUN`, metric, value.
    """

    images: pd.DataFrame
    prompts: pd.DataFrame
    metrics: pd.DataFrame

    @property
    def rewards(self) -> list[str]:
        """List the rewards."""
        return [name for name in self.images if name not in (*IMAGE, *VERDICTS)]

    def save(self, folder: Path) -> None:
        """Write the tables as Parquet files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in vars(self).items():
            with replacing(folder / f"{name}.parquet") as partial:
                table.to_parquet(partial, index=False, compression="zstd")


def check_tables(folder: Path) -> None:
    """Check that tables can be written into a folder, and replace nothing but earlier ones of a study.

    Raises:
        InputError: they cannot, or would.
    """
    for path in (folder / f"{each.name}.parquet" for each in fields(Tables)):
        check_can_make(path)
        columns: set[str] = set()
        with suppress(OSError, ValueError):
            columns = {*read_parquet(path)} if path.exists() else {*RUN}
        if not columns >= {*RUN}:
            raise InputError(f"{path} exists and is of no study; move it, or name another folder of tables")


def load_tables(folder: Path) -> Tables:
    """Read the tables of a study.

    Raises:
        InputError: one is missing or no table.
    """
    try:
        return Tables(*(read_parquet(folder / f"{name}.parquet") for name in ("images", "prompts", "metrics")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} does not hold the tables of a study ({error}); run the study without --only-page"
        ) from error


def round_tables(
    arm: str, seed: int, number: int, scores: pd.DataFrame, rewards: Sequence[str], metrics: Mapping[str, float | None]
) -> Tables:
    """Return the tables of one evaluated round.

    Args:
        arm: its name.
        seed: of its run.
        number: of the round.
        scores: a row per image: prompt_id, sample_index, rewards and, if there was a judge, its columns.
        rewards: columns to keep.
        metrics: the round's; None is left out.
    """
    run = {"arm": arm, "seed": seed, "round": number}
    images = scores[["prompt_id", "sample_index"]].assign(**run)[IMAGE]
    prompts = pd.DataFrame(columns=[*RUN, "prompt_id", "diversity"])
    if "correct" in scores:
        judged = scores["correct"].notna()
        images["correct"] = scores["correct"].astype("boolean")
        images["attribute_accuracy"] = scores["attribute_accuracy"].astype("float32")
        images["hallucinated"] = (scores["hallucinations"] > 0).astype("boolean").where(judged)
        if "left_open" in scores:
            prompts = open_diversity(scores).rename("diversity").reset_index().assign(**run)[prompts.columns]
    images[list(rewards)] = scores[list(rewards)].astype("float32")
    images.attrs = {}
    rows = [{**run, "metric": name, "value": value} for name, value in metrics.items() if value is not None]
    return Tables(images, prompts, pd.DataFrame(rows, columns=[*RUN, "metric", "value"]))


def joined(parts: Sequence[Tables]) -> Tables:
    """Put the tables of several rounds one below the other."""

    def one(name: str) -> pd.DataFrame:
        tables = [getattr(part, name) for part in parts]
        return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)

    return Tables(one("images"), one("prompts"), one("metrics"))
