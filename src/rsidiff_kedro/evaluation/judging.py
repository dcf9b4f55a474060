"""Judge whether images show what their prompts say; judges only measure, they never select, weight or train."""

import json
from collections.abc import Iterable, Sequence
from typing import Protocol, cast

import numpy as np
import pandas as pd
from PIL import Image

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.registry import Registry

JUDGES = Registry("judge", "rsidiff_kedro.judges", {"scenes": "rsidiff_kedro.scenes.plugins.judge:ScenesJudge"})


_HIGHEST = {"correct": 1, "attribute_accuracy": 1, "hallucinations": np.inf}
"""The highest value of each column of numbers that a judge returns; the lowest is 0."""


class JudgeError(InputError):
    """A judge that can read none of the prompts, or does not return one row of possible values per image."""


class Judge(Protocol):
    """A class, created without arguments, that decides what is right in an image."""

    def can_read(self, prompt: str) -> bool:
        """Tell whether the judge understands this prompt."""

    def judge(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> pd.DataFrame:
        """Return one row per image with these columns.

        correct (bool): the image shows everything that the prompt names, and nothing else.
        attribute_accuracy (float in [0, 1]): the share of the prompt's attributes that are right.
        hallucinations (int): things that are malformed or not asked for.
        left_open (str, optional): a JSON object of attributes that the image shows and the prompt leaves open, for
            `open_diversity`.
        """


def load_judge(name: str) -> Judge:
    """Open a judge by its registered name or `package.module:Class`.

    Raises:
        PluginError: the name is unknown.
        JudgeError: it names something else.
    """
    kind = JUDGES.load(name)
    if not isinstance(kind, type) or not hasattr(kind, "can_read") or not hasattr(kind, "judge"):
        raise JudgeError(
            f"evaluation.judge: {name!r} is no judge; name a class with can_read(prompt) and judge(images, prompts)"
        )
    return cast(Judge, kind())


def judge_readable(name: str, images: Sequence[Image.Image], prompts: Sequence[str]) -> pd.DataFrame:
    """Judge the images whose prompts the judge can read; the rows of all others are NaN.

    Raises:
        JudgeError: the judge can read none, or does not return one row of possible values per image.
    """
    judge = load_judge(name)
    rows = [row for row, prompt in enumerate(prompts) if judge.can_read(prompt)]
    if not rows:
        raise unreadable(name, prompts[0])
    verdicts = judge.judge([images[row] for row in rows], [prompts[row] for row in rows])
    if len(verdicts) != len(rows):
        raise JudgeError(
            f"evaluation.judge {name!r} returned {len(verdicts)} rows for {len(rows)} images; return one per image"
        )
    for column, most in _HIGHEST.items():
        _check_values(name, verdicts, column, most)
    if "left_open" in verdicts:
        _check_left_open(name, verdicts["left_open"][pd.to_numeric(verdicts["correct"]).astype(bool)])
    verdicts.index = pd.Index(rows)
    return verdicts if len(rows) == len(prompts) else verdicts.reindex(np.arange(len(prompts)))


def _check_values(name: str, verdicts: pd.DataFrame, column: str, most: float) -> None:
    if column not in verdicts:
        raise JudgeError(f"evaluation.judge {name!r} returned no column {column!r}; return all that `Judge` names")
    values = pd.to_numeric(verdicts[column], errors="coerce").astype(float)
    right = np.isfinite(values) & values.between(0, most)
    if column != "attribute_accuracy":
        right &= values % 1 == 0
    if not right.all():
        wrong = verdicts[column][~right].iloc[0]
        kind = "a number" if column == "attribute_accuracy" else "a whole number"
        raise JudgeError(
            f"evaluation.judge {name!r} returned {column} = {str(wrong)[:40]} for an image; return {kind} from 0"
            + (f" to {most:g}" if most < np.inf else "")
        )


def _check_left_open(name: str, of_right: Iterable[object]) -> None:
    """Raise JudgeError unless each is a JSON object; those of wrong images are not used."""
    for text in of_right:
        try:
            found = json.loads(cast(str, text))
        except (TypeError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise JudgeError(
                f"evaluation.judge {name!r} returned left_open = {str(text)[:40]} for a right image; return a JSON "
                'object, such as {"size": "small"}, or no such column'
            )


def unreadable(name: str, prompt: str) -> JudgeError:
    """Return the error for a judge that can read no prompt."""
    return JudgeError(
        f"evaluation.judge is {name!r}, which can read none of the prompts (the first: {prompt[:60]!r}); set "
        "evaluation.judge=null"
    )
