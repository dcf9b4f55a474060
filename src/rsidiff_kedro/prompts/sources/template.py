"""Generate prompts by filling words into templates."""

import math
from string import Formatter
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.core.section import Text
from rsidiff_kedro.prompts.sources.source import Source

LARGEST = 10**9
"""Limit of a source's combinations, which are numbered."""


class TemplateSource(Source):
    """Templates with slots, such as "a {color} {animal} in {place}", and lists of words for the slots.

    A slot that occurs twice in a template gets the same word twice. The template is its prompts' category.

    Attributes:
        templates: with slots or without.
        words: the words for each slot; every slot has some and every list is used.
        count: number of different random combinations; None for all.
    """

    kind: Literal["template"] = "template"
    templates: tuple[Text, ...] = Field(min_length=1)
    words: dict[str, tuple[Text, ...]] = Field(default_factory=dict)
    count: int | None = Field(default=None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        slots = {name for template in self.templates for name in _slots(template)}
        for kind, values in (("templates", self.templates), *self.words.items()):
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{kind!r} is empty or holds something twice: {list(values)}; give each once")
        if slots != set(self.words):
            lacking, unused = sorted(slots - set(self.words)), sorted(set(self.words) - slots)
            raise ValueError(
                f"templates and words do not fit: no words for the slots {lacking}, no slot for the words {unused}; "
                "name each slot of `templates` in `words`"
            )
        if self.combinations > LARGEST or (self.count or 0) > self.combinations:
            raise ValueError(
                f"count is {self.count}, and the templates have {self.combinations} combinations (at most {LARGEST} "
                "can be handled); lower count, or add or remove words"
            )
        return self

    @property
    def combinations(self) -> int:
        """Return the number of prompts that all templates give with all words."""
        return sum(self._sizes())

    @property
    def expected(self) -> int:
        return self.count or self.combinations

    def collect(self, seed: int) -> pd.DataFrame:
        """Return all combinations in order, or a random `count` of them."""
        rng, every = np.random.default_rng([seed, 2]), self.combinations
        wanted = np.arange(every) if self.count is None else rng.choice(every, self.count, replace=False)
        starts = np.cumsum([0, *self._sizes()])
        which = np.searchsorted(starts, wanted, side="right") - 1
        templates = [self.templates[row] for row in which]
        texts = list(map(self._fill, templates, (wanted - starts[which]).tolist()))
        return prompt_table(texts, "template", templates)

    def _sizes(self) -> list[int]:
        return [math.prod(len(self.words[slot]) for slot in _slots(template)) for template in self.templates]

    def _fill(self, template: str, number: int) -> str:
        """Return the template's combination of this number, whose digits are the positions of the words."""
        chosen = {}
        for slot in _slots(template):
            number, position = divmod(number, len(self.words[slot]))
            chosen[slot] = self.words[slot][position]
        return template.format(**chosen)


def _slots(template: str) -> list[str]:
    """Return the names of a template's slots, each once; raise ValueError if a slot is more than a name."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"template {template!r}: {error}; write {{{{ and }}}} for braces of the text") from None
    slots: dict[str, None] = {}
    for _, name, form, conversion in parts:
        if name is not None:
            if not name.isidentifier() or form or conversion:
                raise ValueError(f"template {template!r}: {name!r} is not a plain slot name, such as {{color}}")
            slots[name] = None
    return list(slots)
