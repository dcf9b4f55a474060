"""Score a table of images, one column per reward, and record what each score depends on."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import numpy as np
import pandas as pd
from PIL import Image

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.core.image_set import ImageFiles
from rsidiff_kedro.core.locations import marked
from rsidiff_kedro.execution.engine import Task, run_shards
from rsidiff_kedro.execution.local import Shard, split
from rsidiff_kedro.execution.partial_results import PartialResults
from rsidiff_kedro.provenance.content_digest import content_of, fingerprint
from rsidiff_kedro.rewards.protocol import ScoreError, as_scores, read_record
from rsidiff_kedro.rewards.registry import BUILT_IN, compares_samples, load_reward
from rsidiff_kedro.rewards.settings import RewardsSettings

if TYPE_CHECKING:
    from torch import Tensor

SHARD_SIZE = 128
"""Images whose scores are saved together, rounded up to whole micro-batches."""


def shard_size(settings: RewardsSettings) -> int:
    """Return the images of a shard: whole micro-batches."""
    return settings.micro_batch_size * -(-SHARD_SIZE // settings.micro_batch_size)


def with_scores(
    table: pd.DataFrame,
    images: Sequence[Image.Image],
    names: Iterable[str],
    settings: RewardsSettings,
    unfinished: Path | None = None,
) -> pd.DataFrame:
    """Return the table with one float32 column per reward.

    `attrs["rewards"]` records for each reward what its scores depend on: the checkpoint's source, file, size and
    SHA-256, the tokenizer, dtype, device and micro-batch size; nothing for the rewards of the scenes. In that of a
    reward of one's own, files, and paths that are options or below one, stand by their last name and content. Parquet
    keeps it.

    Args:
        table: one row per image, with image_id, prompt_id and text.
        names: of rewards, which are opened one after the other if there are images.
        unfinished: a folder of finished shards, which a later call reuses.

    Raises:
        ScoreError: a score is NaN or infinite, or there is not one score per image.
    """
    scored, records = table.copy(), {}
    for name in dict.fromkeys(names):
        if not len(images):
            scored[name] = np.empty(0, np.float32)
            continue
        scoring = Scoring(name, settings, unfinished, isinstance(images, ImageFiles))
        scored[name] = _score(scoring, table, images)
        records[name] = scoring.record()
        wrong = scored.loc[~np.isfinite(scored[name]), "image_id"]
        if len(wrong):
            raise ScoreError(
                f"the reward {name!r} is NaN or infinite for {len(wrong)} of {len(scored)} images, first "
                f"{wrong.iloc[0]}; look at this image and at the checkpoint, and use rewards.dtype=float32"
            )
    scored.attrs["rewards"] = records
    return scored


@dataclass(frozen=True)
class RewardOpening:
    """Opens a reward by its name, in this or another process, as a function of images and their prompts."""

    name: str
    settings: RewardsSettings

    def __call__(self) -> Callable[[Sequence[Image.Image], Sequence[str]], np.ndarray]:
        """Return what scores images: float32 [n]; it raises ScoreError if a score is not finite."""
        reward = load_reward(self.name, **self.settings.options(self.name))

        def score(images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
            scores = as_scores(reward.score(images, prompts), len(prompts), self.name)
            if not np.isfinite(scores).all():
                raise ScoreError(
                    f"the reward {self.name!r} is NaN or infinite for a predicted image of {prompts[0][:60]!r}; look "
                    "at the checkpoint, use rewards.dtype=float32, or set synthesis.early_dropping=null"
                )
            return scores

        return score


Pictures = tuple[Sequence[Image.Image], Sequence[str]]
"""Images and their prompts."""


@dataclass(frozen=True)
class OnPictures(Task[Pictures, "Tensor"]):
    """Compute one row per image with the network of a name, and keep the rows of each shard.

    Attributes:
        folder: of finished shards.
        on_disk: the images are files, which other processes can open.
    """

    name: str
    settings: RewardsSettings
    folder: Path | None
    on_disk: bool

    def find(self, shard: Shard, given: Pictures) -> "Tensor | None":
        """Return the rows that are kept."""
        return PartialResults(self.folder).load(shard.key, len(given[1]))

    def portable(self) -> Self | None:
        """Return the task unless pixels would travel with it."""
        return replace(self, folder=self.folder.absolute()) if self.folder is not None and self.on_disk else None


@dataclass(frozen=True)
class Scoring(OnPictures):
    """Score images with one reward.

    Attributes:
        opened: the record of the reward, once this process has scored with it.
    """

    opened: list[Any] = field(default_factory=list)

    def open(self) -> "Callable[[Shard, Pictures], Tensor]":
        """Open the reward; with the first scores, which may fill its record, the record is kept."""
        import torch  # slow to import, and a run is planned without

        reward, kept = load_reward(self.name, **self._options()), list[Any]()

        def score(shard: Shard, pictures: Pictures) -> "Tensor":
            images, texts = pictures
            scores = torch.from_numpy(as_scores(reward.score(images, texts), len(texts), self.name))
            record = read_record(reward, self.name)
            if kept != [record]:
                kept[:] = [record]
                self._keep(self._with_contents(record))
            PartialResults(self.folder).save(shard.key, scores)
            return scores

        return score

    def record(self) -> Any:
        """Return what the reward says of itself, as whoever scored with it has kept it."""
        path = self._record_path()
        if not self.opened and path is not None and path.is_file():
            return json.loads(path.read_text("utf-8"))
        if self.opened:
            return self.opened[0]
        return self._with_contents(read_record(load_reward(self.name, **self._options()), self.name))

    def _keep(self, record: Any) -> None:
        self.opened[:] = [record]
        path = self._record_path()
        if path is not None:
            with replacing(path) as partial:
                partial.write_text(json.dumps(record), encoding="utf-8")

    def _with_contents(self, record: Any) -> Any:
        """Return a record in which paths stand by name and content, unless it is one of this project's rewards."""
        if (self.settings.votes.features if self.name == "votes" else self.name) in BUILT_IN:
            return record
        own = [found for path, found in marked(self.settings) if path.startswith("custom.")]
        contents = {str(found.value): content_of(found, times=False) for found in own}
        return _with_contents(record, {place: each for place, each in contents.items() if each})

    def _record_path(self) -> Path | None:
        return None if self.folder is None else self.folder / f"{quote(self.name, safe='')}.record.json"

    def _options(self) -> dict[str, Any]:
        return self.settings.options(self.name)


def _with_contents(record: Any, contents: Mapping[str, str]) -> Any:
    """Return a record that names these paths, those below them, and files by the last name and the content.

    Other paths of the project are told from its folder, because it may move.
    """
    if isinstance(record, Mapping):
        return {name: _with_contents(value, contents) for name, value in record.items()}
    if isinstance(record, list | tuple):
        return [_with_contents(value, contents) for value in record]
    if not isinstance(record, str) or not os.path.isabs(record):
        return record
    path, project = Path(record), Path.cwd()
    place = max((place for place in contents if path.is_relative_to(place)), key=len, default=None)
    if place is not None:
        return str(Path(f"{Path(place).name} ({contents[place]})") / path.relative_to(place))
    if os.path.isfile(path):
        return f"{path.name} ({fingerprint(path, times=False)})"
    return str(path.relative_to(project)) if path.is_relative_to(project) and path != project else record


def _score(scoring: Scoring, table: pd.DataFrame, images: Sequence[Image.Image]) -> np.ndarray:
    """Score all images in shards, which are the same whether results are kept or not."""
    name, texts = scoring.name, table["text"].tolist()
    keys = [f"{name}_{row}" for row in range(len(images))]
    size = shard_size(scoring.settings)
    whole_prompts = compares_samples(name)
    shards = list(_by_prompt(keys, table["prompt_id"].tolist(), size) if whole_prompts else split(keys, size))

    def pictures(shard: Shard) -> Pictures:
        return images[shard.start : shard.stop], texts[shard.start : shard.stop]

    parts = dict(run_shards(scoring, shards, pictures, f"scoring: {name}", delay=2))
    return np.concatenate([parts[shard].numpy() for shard in shards])


def _by_prompt(keys: Sequence[str], prompts: Sequence[Any], size: int) -> Iterator[Shard]:
    """Cut after at least `size` rows, but not between the consecutive samples of one prompt."""
    cuts = [0]
    for end in range(1, len(prompts) + 1):
        if end == len(prompts) or (prompts[end] != prompts[end - 1] and end - cuts[-1] >= size):
            cuts.append(end)
    for start, stop in pairwise(cuts):
        yield Shard(keys[start], start, stop)
