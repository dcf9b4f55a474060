"""Where prompts come from: one module a kind, told apart by the parameter `kind`.

A new kind is a subclass of `Source` in a module of its own, and its name in `SimpleSource` (mixture.py) and below.
"""

from typing import Annotated

import pandas as pd
from pydantic import Field

from rsidiff_kedro.prompts.sources.base import PromptSourceError, Source
from rsidiff_kedro.prompts.sources.file import FileSource, PromptFileError
from rsidiff_kedro.prompts.sources.grammar import CATEGORIES, GrammarSource
from rsidiff_kedro.prompts.sources.hub import HubSource
from rsidiff_kedro.prompts.sources.language_model import LanguageModelSource
from rsidiff_kedro.prompts.sources.mixture import MixtureSource
from rsidiff_kedro.prompts.sources.template import TemplateSource

__all__ = [
    "CATEGORIES",
    "SOURCES",
    "FileSource",
    "GrammarSource",
    "HubSource",
    "LanguageModelSource",
    "MixtureSource",
    "PromptFileError",
    "PromptSource",
    "PromptSourceError",
    "Source",
    "TemplateSource",
    "collect_prompts",
]

SOURCES: dict[str, type[Source]] = {
    source.model_fields["kind"].default: source
    for source in (GrammarSource, FileSource, HubSource, TemplateSource, LanguageModelSource, MixtureSource)
}
"""Every kind of source by its name."""

PromptSource = Annotated[
    GrammarSource | FileSource | HubSource | TemplateSource | LanguageModelSource | MixtureSource,
    Field(discriminator="kind"),
]


def collect_prompts(source: Source, evaluation_source: Source | None, seed: int) -> pd.DataFrame:
    """All prompts, as a prompt table.

    With a source of its own for evaluation, its prompts carry the split "evaluation" and those of the other "pool"; of
    the grammar, each gives its captions for that part alone. Without, the grammar marks its prompts itself, and
    those of any other source carry the split "".

    Raises:
        PromptSourceError: a source cannot be read.
        PromptCountError: it has fewer prompts than its settings ask for.
    """
    prompts = source.collect(seed)
    if evaluation_source is None:
        return prompts
    evaluation = evaluation_source.collect(seed)
    training = prompts[prompts["split"] != "evaluation"].assign(split="pool")
    held_out = evaluation[evaluation["split"] != "pool"].assign(split="evaluation")
    return pd.concat([training, held_out], ignore_index=True)
