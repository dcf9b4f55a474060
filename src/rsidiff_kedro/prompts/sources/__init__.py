"""Prompt sources, one module per kind; the parameter `kind` names it."""

from collections.abc import Mapping
from typing import Annotated, Any

import pandas as pd
from pydantic import BeforeValidator, SerializeAsAny

from rsidiff_kedro.core.registry import PluginError, Registry
from rsidiff_kedro.prompts.sources.source import Source

_HERE = "rsidiff_kedro.prompts.sources"
SOURCES = Registry(
    "prompt source",
    "rsidiff_kedro.prompt_sources",
    {
        "file": f"{_HERE}.file:FileSource",
        "hub": f"{_HERE}.hub:HubSource",
        "template": f"{_HERE}.template:TemplateSource",
        "language_model": f"{_HERE}.language_model:LanguageModelSource",
        "mixture": f"{_HERE}.mixture:MixtureSource",
        "grammar": "rsidiff_kedro.scenes.plugins.prompt_source:GrammarSource",
    },
)


def _parse(value: Any) -> Any:
    """Validate a section with the class that its `kind` names."""
    if not isinstance(value, Mapping):
        return value
    if not isinstance(value.get("kind"), str):
        raise ValueError(f"it needs a kind; there are {', '.join(SOURCES.names)}")
    try:
        source = SOURCES.load(value["kind"])
    except PluginError as error:
        raise ValueError(str(error)) from None
    if not (isinstance(source, type) and issubclass(source, Source)):
        raise ValueError(f"the kind {value['kind']!r} is no prompt source; name a subclass of Source")
    return source.model_validate(value)


PromptSource = Annotated[SerializeAsAny[Source], BeforeValidator(_parse)]
"""A field for a source of any kind."""


_kept: dict[str, pd.DataFrame] = {}


def collect_prompts(source: Source, evaluation_source: Source | None, seed: int, keep: bool = False) -> pd.DataFrame:
    """Return all prompts as one prompt table.

    With a source of its own for evaluation, its prompts get the split "evaluation" and the others "pool". Without, a
    source that separates evaluation prompts marks them itself, and the prompts of any other have the split "".

    Args:
        keep: keep the table for the next call, which takes it: the check before a run collects, and the run need not
            do so again.

    Raises:
        PromptSourceError: a source cannot be read.
        PromptCountError: it has fewer prompts than its settings ask for.
    """
    key = f"{source!r} {evaluation_source!r} {seed}"
    prompts = _kept.pop(key, None)
    if prompts is None:
        prompts = _collect(source, evaluation_source, seed)
    if keep:
        _kept[key] = prompts
    return prompts


def _collect(source: Source, evaluation_source: Source | None, seed: int) -> pd.DataFrame:
    prompts = source.collect(seed)
    if evaluation_source is None:
        return prompts
    evaluation = evaluation_source.collect(seed)
    training = prompts[prompts["split"] != "evaluation"].assign(split="pool")
    held_out = evaluation[evaluation["split"] != "pool"].assign(split="evaluation")
    return pd.concat([training, held_out], ignore_index=True)
