"""Prompts that fill words into templates."""

import math
from string import Formatter
from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, StringConstraints, model_validator

from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.prompts.sources.source import Source

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
LARGEST = 10**9
"""Combinations of one source, so that they can be numbered."""


class TemplateSource(Source):
    """Templates with slots, such as "a {color} {animal} in {place}", and lists of words for the slots.

    A slot that stands twice in a template gets the same word twice. The template is its prompts' category.

    Attributes:
        templates: each with a slot or without.
        words: by slot, the words for it; every slot has some and every list is used.
        count: how many of all combinations to draw, none twice; None for all.
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
        if not 0 < self.combinations <= LARGEST or (self.count or 0) > self.combinations:
            raise ValueError(
                f"count is {self.count}, and the templates have {self.combinations} combinations (at most {LARGEST} "
                "can be handled); lower count, or add or take out words"
            )
        return self

    @property
    def combinations(self) -> int:
        """How many prompts all templates give with all words."""
        return sum(self._sizes())

    @property
    def expected(self) -> int:
        """How many prompts it gives."""
        return self.count or self.combinations

    def collect(self, seed: int) -> pd.DataFrame:
        """All combinations in order, or a random `count` of them."""
        wanted = np.arange(self.combinations)
        if self.count is not None:
            wanted = np.random.default_rng([seed, 2]).choice(self.combinations, self.count, replace=False)
        starts = np.cumsum([0, *self._sizes()])
        which = np.searchsorted(starts, wanted, side="right") - 1
        pairs = [(self.templates[row], int(number - starts[row])) for row, number in zip(which, wanted, strict=True)]
        texts = [self._fill(template, number) for template, number in pairs]
        return prompt_table(texts, "template", [template for template, _ in pairs])

    def _sizes(self) -> list[int]:
        return [math.prod(len(self.words[slot]) for slot in _slots(template)) for template in self.templates]

    def _fill(self, template: str, number: int) -> str:
        """The template's combination of this number: its digits are the positions of the words."""
        chosen = {}
        for slot in _slots(template):
            number, position = divmod(number, len(self.words[slot]))
            chosen[slot] = self.words[slot][position]
        return template.format(**chosen)


def _slots(template: str) -> list[str]:
    """The names of a template's slots, each once.

    Raises:
        ValueError: a brace is not closed, or a slot is more than a name.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"template {template!r}: {error}; write {{{{ and }}}} for braces of the text") from None
    names = [name for _, name, _, _ in parts if name is not None]
    odd = [
        name
        for _, name, form, conversion in parts
        if name is not None and (not name.isidentifier() or form or conversion)
    ]
    if odd:
        raise ValueError(f"template {template!r}: {odd[0]!r} is no plain name of a slot, such as {{color}}")
    return list(dict.fromkeys(names))
