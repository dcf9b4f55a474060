"""Register the prompt sources, one module per kind, and collect their prompts; the parameter `kind` names a source."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BeforeValidator, SerializeAsAny

from rsidiff_kedro.core.locations import marked
from rsidiff_kedro.core.prompt_table import PromptTableError, check_prompt_table
from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.prompts.sources.source import Source
from rsidiff_kedro.provenance.content_digest import content_of

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
    source = SOURCES.load(value["kind"])
    if not (isinstance(source, type) and issubclass(source, Source)):
        raise ValueError(f"the kind {value['kind']!r} is not a prompt source; name a subclass of Source")
    return source.model_validate(value)


PromptSource = Annotated[SerializeAsAny[Source], BeforeValidator(_parse)]
"""A field for a source of any kind."""


def canonical_of(*used: Source) -> Callable[[str], str | None]:
    """Return what gives one text for all prompts that mean the same to the first of these sources that can tell."""

    def canonical(text: str) -> str | None:
        return next((found for each in used if (found := each.canonical(text)) is not None), None)

    return canonical


def check_paid(used: Collection[Source], seed: int) -> bool:
    """Check all these sources, if collecting from one of them costs money; tell whether it does."""
    costs = any(source.costs for source in used)
    for source in used if costs else ():
        source.check(seed)
    return costs


_kept: dict[str, pd.DataFrame] = {}
_MARKS = ("", "evaluation", "pool")


def collect_prompts(source: Source, evaluation_source: Source | None, seed: int, keep: bool = False) -> pd.DataFrame:
    """Return all prompts as one prompt table.

    The split is "evaluation" for those that validate and test, "pool" for those that train, and "" for those that may
    do either. With an evaluation source, its prompts evaluate and the others train. Without, the source marks them; if
    it marks some "evaluation", all others train, and if it marks all "pool", all may do either.

    `keep` collects anew and keeps the table for the next call, so the run need not collect again after the check before
    it, unless what the sources name has changed since then. Errors are those of `collect_checked`.
    """
    used = (source,) if evaluation_source is None else (source, evaluation_source)
    key = "" if not (keep or _kept) else " ".join([*map(_content, used), str(seed)])
    kept = _kept.get(key)
    _kept.clear()  # what an earlier run's check kept may be out of date
    prompts = None if keep else kept
    if prompts is None:
        prompts, *others = (collect_checked(each, seed) for each in used)
        for evaluation in others:
            training = prompts[prompts["split"] != "evaluation"].assign(split="pool")
            held_out = evaluation[evaluation["split"] != "pool"].assign(split="evaluation")
            prompts = pd.concat([training, held_out], ignore_index=True)
        if evaluation_source is None and (prompts["split"] == "pool").all():
            prompts = prompts.assign(split="")
        elif (prompts["split"] == "evaluation").any():  # though filters may drop all of these
            prompts = prompts.assign(split=prompts["split"].where(prompts["split"] != "", "pool"))
    if keep:
        _kept[key] = prompts
    return prompts


def collect_checked(source: Source, seed: int) -> pd.DataFrame:
    """Return the prompts of a source, which may be a user's own.

    Raises:
        PromptTableError: it returns no prompt table, or one with other marks than "", "evaluation" and "pool".
        InputError: see `Source.collect`.
    """
    prompts, name = source.collect(seed), f"the table of the prompt source {source.kind}"
    check_prompt_table(prompts, name)
    wrong = prompts.loc[~prompts["split"].isin(_MARKS), "split"]
    if len(wrong):
        raise PromptTableError(
            f"{name} marks {len(wrong)} of {len(prompts)} prompts {wrong.iloc[0]!r} in the column 'split'; mark those "
            "that validate and test 'evaluation' and those that only train 'pool', or leave '' all that may do either"
        )
    return prompts


def _content(source: Source) -> str:
    """Return the settings of a source, and what is now in the files and hub ids that they name."""
    try:
        contents = [content_of(found) for _, found in marked(source.within(Path.cwd()))]
    except OSError:  # such as a file that may not be read, of which `collect` says so
        contents = []
    return f"{source!r} {contents}"
