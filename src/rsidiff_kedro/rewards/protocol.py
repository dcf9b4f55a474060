"""Define rewards and image embeddings, and make a reward of a user's function or class."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from types import SimpleNamespace
from typing import Annotated, Any, Protocol

import numpy as np
from PIL import Image
from pydantic import AfterValidator

from rsidiff_kedro.core.errors import InputError

RewardName = Annotated[str, AfterValidator(lambda name: {"hpsv2.1": "hpsv2_1", "hpsv2.0": "hpsv2_0"}.get(name, name))]
"""A reward's name; accepts the official spelling of HPSv2's versions, although Kedro splits `--params` at dots."""


FITTED_ON = "fitted_on"
"""What a reward's `record` calls the data that it was fitted on when it was opened."""
_COMPUTING = {"device", "micro_batch_size"}
_PLACE = {"checkpoint", "revision", "file", "bytes"}
"""Entries that say where a file is whose content has a `sha256` beside them."""
_CONTENT = re.compile(r" \([0-9a-f]{12}(?:\+[0-9a-f]{12})*\)")
"""Behind the last name of a path in a record."""


class ScoreError(InputError):
    """A preference model did not return one finite number per image."""


class Reward(Protocol):
    """Scores how well images fit their prompts.

    Optional members: `check(**options)`, a class method that raises an InputError if the reward cannot be opened;
    `can_read(prompt)`, which tells whether it scores this prompt; `token_counts(prompts, **options)`, a class method
    that returns each prompt's tokens and how many of them are read; `record`, a JSON-like dict of what determines its
    scores.
    """

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return float32 [n], higher is better; comparable within a prompt."""


def record_changes(old: Any, new: Any) -> list[str]:
    """List the entries in which two records of a reward differ, if they are of two functions.

    Device, micro-batch size, the place of a file whose content is recorded, and where a tokenizer's folder lies, are no
    part of the function: a project may have moved.
    """
    before, after = (
        _function(each if isinstance(each, Mapping) else {} if each is None else {"record": each})
        for each in (old, new)
    )
    return sorted(name for name in before.keys() | after.keys() if not _is_same(before.get(name), after.get(name)))


def _function(record: Any) -> Any:
    if isinstance(record, list | tuple):
        return [*map(_function, record)]
    if not isinstance(record, Mapping):
        return record
    left_out = _COMPUTING | (_PLACE if {"file", "sha256"} <= record.keys() else set())
    if record.get("tokenizer") == record.get("checkpoint"):  # it lies beside the weights
        left_out = left_out | {"tokenizer"}
    kept = {name: _function(value) for name, value in record.items() if name not in left_out}
    tokenizer = kept.get("tokenizer")
    if isinstance(tokenizer, str) and os.path.isabs(tokenizer):
        kept["tokenizer"] = os.path.basename(tokenizer)
    return kept


def _is_same(old: Any, new: Any) -> bool:
    """Tell whether two parts of records are of one function; records of before held paths without their content."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_is_same(old[name], new[name]) for name in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_is_same, old, new))
    if isinstance(old, str) and isinstance(new, str) and os.path.isabs(old) != os.path.isabs(new):
        place, named = (old, new) if os.path.isabs(old) else (new, old)
        return place.endswith(f"/{_CONTENT.sub('', named, count=1)}")
    return bool(old == new)


class Features(Protocol):
    """Embeds images."""

    def embed(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return float32 [n, d]."""


class _Wrapper:
    """Holds a user's plug-in, and says of its record what it says when it is asked: its first call may fill it."""

    def __init__(self, plugin: Any) -> None:
        self._plugin = plugin

    @property
    def record(self) -> Any:
        return getattr(self._plugin, "record", {})


class PromptReward(_Wrapper):
    """A reward that compares all samples of one prompt: `score_prompt(images, prompt) -> scores`."""

    by_prompt = True

    def __init__(self, plugin: Any, name: str) -> None:
        super().__init__(plugin)
        self._name = name

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Score each prompt's samples together; expects all of them."""
        scores = np.empty(len(images), np.float32)
        for prompt in dict.fromkeys(prompts):
            rows = [row for row, other in enumerate(prompts) if other == prompt]
            values = self._plugin.score_prompt([images[row].copy() for row in rows], prompt)
            scores[rows] = as_scores(values, len(rows), self._name)
        return scores


def as_scores(values: Any, count: int, name: str) -> np.ndarray:
    """Return a reward's scores of `count` images as float32 [count].

    Raises:
        ScoreError: the values are not one number per image.
    """
    try:
        scores = np.asarray(_numbers(values), np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ScoreError(
            f"the reward {name!r} did not return numbers ({error}); return one number per image, on the CPU"
        ) from error
    if scores.shape != (count,):
        shapes = f"an array of shape {scores.shape} for {count} images"
        raise ScoreError(f"the reward {name!r} returned {shapes}; return one number per image")
    return scores


def _numbers(values: Any) -> Any:
    """Return what a plug-in returned without the gradients of torch, whether one tensor or a list of them."""
    if isinstance(values, list | tuple):
        return [_numbers(each) for each in values]
    return values.detach() if hasattr(values, "detach") else values


def read_record(opened: Any, name: str) -> Any:
    """Return the record of a reward or of features as JSON gives it back, {} without one.

    Raises:
        InputError: it cannot be read, or holds what JSON does not.
    """
    try:
        record = getattr(opened, "record", {})
    except Exception as error:
        raise InputError(
            f"the record of {name!r} cannot be read ({type(error).__name__}: {error}); correct it"
        ) from error
    return as_record(record, name)


def as_record(record: Any, name: str) -> Any:
    """Return a record as JSON gives it back; raise InputError for what JSON does not hold."""
    try:
        return json.loads(json.dumps(record))
    except Exception as error:
        raise InputError(
            f"the record of {name!r} cannot be kept ({type(error).__name__}: {error}); make it of texts, Python's "
            "numbers, lists and dicts, such as str(path) and float(scale)"
        ) from error


def as_vectors(values: Any, count: int, name: str) -> np.ndarray:
    """Return the embeddings of `count` images as float32 [count, d].

    Raises:
        ScoreError: the values are not one finite vector per image.
    """
    problem, remedy = f"the features {name!r}", "return one vector of finite numbers per image, on the CPU"
    try:
        vectors = np.ascontiguousarray(_numbers(values), np.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ScoreError(f"{problem} did not return numbers ({error}); {remedy}") from error
    if vectors.ndim != 2 or len(vectors) != count or (count and not vectors.size):
        raise ScoreError(f"{problem} returned an array of shape {vectors.shape} for {count} images; {remedy}")
    wrong = int((~np.isfinite(vectors)).any(axis=1).sum())
    if wrong:
        raise ScoreError(
            f"{problem} are NaN or infinite for {wrong} of {count} images; look at the checkpoint, and use "
            "rewards.dtype=float32"
        )
    return vectors


def bind(plugin: Callable[..., Any], options: Mapping[str, Any], name: str, *arguments: Any) -> Callable[..., Any]:
    """Return the plug-in with its options bound; raise InputError if it does not take these arguments."""
    try:
        signature(plugin).bind(*arguments, **options)
    except TypeError as error:
        raise InputError(
            f"{name!r} cannot be called with the options {dict(options)} ({error}); correct rewards.custom or its code"
        ) from None
    except ValueError:  # a builtin without a signature
        pass
    return partial(plugin, **options)


def on_copies(plugin: Any) -> Any:
    """Wrap a user's reward or features, so that each call gets lists of its own, with copies of the images.

    In a run, whose images are opened from files, it gets the same types as in a trial. It may change what it gets.
    """

    def call(method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda images, prompts: method([image.copy() for image in images], [*prompts])

    wrapper = _Wrapper(plugin)
    for name in ("score", "embed"):
        if hasattr(plugin, name):
            setattr(wrapper, name, call(getattr(plugin, name)))
    return wrapper


def as_reward(plugin: Any, options: Mapping[str, Any], name: str) -> Reward:
    """Make a reward of a user's class or function; each call gets lists of its own (`on_copies`).

    `plugin` is a class with `score(images, prompts)` or `score_prompt(images, prompt)`, which takes the options, or a
    function `(images, prompts, **options) -> scores`.

    Raises:
        InputError: the plug-in is none of these, or does not take the options.
    """
    opened = bind(plugin, options, name)() if isinstance(plugin, type) else plugin
    if hasattr(opened, "score"):
        return on_copies(opened)
    if hasattr(opened, "score_prompt"):
        return PromptReward(opened, name)
    if callable(opened) and not isinstance(plugin, type):
        return on_copies(SimpleNamespace(score=bind(opened, options, name, [], [])))
    raise InputError(
        f"the reward {name!r} is no reward: give a function (images, prompts) -> scores, or a class with "
        "score(images, prompts) or score_prompt(images, prompt)"
    )
