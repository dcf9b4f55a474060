"""Generate captions of the scenes grammar as prompts."""

from itertools import islice
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from rsidiff_kedro.core.prompt_table import PromptCountError, prompt_table
from rsidiff_kedro.prompts.sources.source import Source
from rsidiff_kedro.scenes.world.grammar import (
    ANNOTATED,
    HELD_OUT,
    Scene,
    bucket,
    is_caption,
    parse_caption,
    sample_distinct_scenes,
    single_object_scenes,
)


class GrammarSource(Source):
    """Captions with the split "evaluation" or "pool" and the category "one_object" or "two_objects".

    The embedded base never saw an evaluation caption.

    Attributes:
        count: prompts for the pool. It has only 123 captions of one object and takes at most the share below; captions
            of two objects fill the rest.
        evaluation_count: prompts for validation and test, at exactly the share below; there are 204 captions of one
            object for them, enough for 340 at a share of 0.4.
        two_objects: the share of captions with two objects, in [0, 1].
    """

    kind: Literal["grammar"] = "grammar"
    # Captions of two objects are sampled until enough differ; 10,000 is well below the pool's 17,000.
    count: int = Field(default=400, ge=1, le=10_000)
    evaluation_count: int = Field(default=340, ge=2, le=10_000)
    two_objects: float = Field(default=0.4, ge=0, le=1)

    @property
    def expected(self) -> int:
        """Return the number of training captions."""
        return self.count

    @property
    def expected_evaluation(self) -> int:
        """Return the number of evaluation captions."""
        return self.evaluation_count

    def canonical(self, text: str) -> str | None:
        """Return the same text for captions of the same scene; None if the text is no caption."""
        return parse_caption(text).key if is_caption(text) else None

    def collect(self, seed: int) -> pd.DataFrame:
        """Return captions for evaluation and then for the pool."""
        parts = []
        for split in ("evaluation", "pool"):
            scenes = _sample_scenes(self, split, seed)
            categories = ["one_object" if len(scene.objects) == 1 else "two_objects" for scene in scenes]
            parts.append(prompt_table([scene.caption for scene in scenes], "grammar", categories, split))
        return pd.concat(parts, ignore_index=True)


def _sample_scenes(source: GrammarSource, split: str, seed: int) -> list[Scene]:
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
