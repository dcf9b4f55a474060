"""Collect prompts from several sources, with a share of each."""

from typing import Annotated, Literal, Self

import numpy as np
import pandas as pd
from pydantic import AfterValidator, Field, model_validator

from rsidiff_kedro.core.prompt_table import PromptCountError
from rsidiff_kedro.core.random_order import random_order
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.prompts.sources import PromptSource, collect_checked
from rsidiff_kedro.prompts.sources.source import Source


def _simple(source: Source) -> Source:
    if isinstance(source, MixtureSource):
        raise ValueError("a mixture cannot be part of a mixture; list its sources instead")
    return source


class MixturePart(Section):
    """One source of a mixture.

    Attributes:
        share: of the mixture's prompts, in (0, 1].
        source: any kind but a mixture; its evaluation prompts are not used.
    """

    share: float = Field(gt=0, le=1)
    source: Annotated[PromptSource, AfterValidator(_simple)]


class MixtureSource(Source):
    """Several sources at once.

    Attributes:
        sources: each with its share; the shares add up to 1.
        count: prompts in all, chosen at random from the different ones of each source.
    """

    kind: Literal["mixture"] = "mixture"
    sources: tuple[MixturePart, ...] = Field(min_length=1)
    count: int = Field(ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _check(self) -> Self:
        total = sum(part.share for part in self.sources)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the sources are {total:g} together; make them 1")
        for part, wanted in self._quotas():
            if part.source.expected is not None:
                _check_count(part, part.source.expected, wanted)
        return self

    @property
    def costs(self) -> bool:
        return any(part.source.costs for part in self.sources)

    @property
    def expected(self) -> int:
        return self.count

    def canonical(self, text: str) -> str | None:
        """Return the canonical text of the first source that has one."""
        found = (part.source.canonical(text) for part in self.sources)
        return next((each for each in found if each is not None), None)

    def check(self, seed: int) -> None:
        """Check every source, and that those that cost nothing can give their share."""
        for part, wanted in self._quotas():
            part.source.check(seed)
            if not part.source.costs:
                _take(part, wanted, seed)

    def collect(self, seed: int) -> pd.DataFrame:
        """Return the shares in the order of the sources, each in the order of its source.

        Raises:
            PromptCountError: a source has fewer different prompts than its share.
        """
        return pd.concat([_take(part, wanted, seed) for part, wanted in self._quotas()], ignore_index=True)

    def _quotas(self) -> list[tuple[MixturePart, int]]:
        """Return each source's part of the count; the largest remainders get what rounding leaves."""
        exact = np.array([part.share for part in self.sources]) * self.count
        quotas = np.floor(exact + 1e-9).astype(int)
        quotas[np.argsort(quotas - exact, kind="stable")[: self.count - quotas.sum()]] += 1
        return list(zip(self.sources, quotas.tolist()))


def _take(part: MixturePart, wanted: int, seed: int) -> pd.DataFrame:
    prompts = collect_checked(part.source, seed)
    different = prompts[prompts["split"] != "evaluation"].drop_duplicates("prompt_id").assign(split="")
    _check_count(part, len(different), wanted)
    return different.iloc[np.sort(random_order(different["prompt_id"], seed, "mixture", part.source.kind)[:wanted])]


def _check_count(part: MixturePart, available: int, wanted: int) -> None:
    if available < wanted:
        names = [str(getattr(part.source, key)) for key in ("path", "dataset", "model") if hasattr(part.source, key)]
        source = " ".join([part.source.kind, *names[:1]])
        raise PromptCountError(
            f"the source {source} has {available} different prompts, but its share of {part.share:g} needs {wanted}; "
            "lower its share or the mixture's count"
        )
