"""Count the tokens of prompts as the model's text encoder reads them, with its tokenizer alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import transformers

from rsidiff_kedro.core.hub import hub_folder
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.model_configs import TOKENIZER_PATTERNS, tokenizer_leads_elsewhere
from rsidiff_kedro.core.untrusted.tokenizers import describe_lost_merges, has_vocabulary
from rsidiff_kedro.diffusion.bases import ModelError, model_source
from rsidiff_kedro.diffusion.model_folder import check_components, component_class


class PromptTokenizer:
    """The tokenizer that limits a prompt's length, beside those of other text encoders that may cut it, too.

    Attributes:
        max_tokens: how many tokens the text encoder reads, start and end tokens included.
    """

    def __init__(self, tokenizer: Any, most: int | None = None, others: "Sequence[PromptTokenizer]" = ()) -> None:
        self._tokenizer, self._others = tokenizer, others
        limit = int(tokenizer.model_max_length)
        self.max_tokens = limit if most is None else min(limit, most)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def count(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text, start and end tokens included, also those beyond the limit."""
        return [len(ids) for ids in self._tokenizer(texts, truncation=False, padding=False, verbose=False).input_ids]

    def lengths(self, texts: list[str], most: int | None = None) -> list[tuple[int, int]]:
        """Return each text's tokens, and how many are read, by the first tokenizer that cuts it, or by this one.

        Args:
            most: tokens that this one reads; None for `max_tokens`.
        """
        found = [(count, most or self.max_tokens) for count in self.count(texts)] if texts else []
        for other in self._others:
            for place, (count, read) in enumerate(other.lengths(texts)):
                if count > read and found[place][0] <= found[place][1]:
                    found[place] = count, read
        return found

    def check(self, name: str = "model.base: the tokenizer", option: str = "", limited: bool = True) -> None:
        """Raise ModelError if the tokenizer has no limit, no vocabulary or not all merges.

        Args:
            name: of the tokenizer, at a message's start.
            option: another way to set the limit, at its end.
            limited: its limit counts, and has to be that of a text encoder.
        """
        if limited and not 2 < self.max_tokens < 100_000:  # a tokenizer that was saved without its limit says 10^30
            raise ModelError(
                f"{name} reads {self.max_tokens} tokens (model_max_length); a text encoder reads some hundreds at "
                f"most: put the right number into tokenizer_config.json{option}"
            )
        if not has_vocabulary(self._tokenizer) or self.count(["a"]) == self.count(["a cat on a chair"]):
            raise ModelError(f"{name} returns the same tokens for all texts, its vocabulary is missing; save it again")
        lost = describe_lost_merges(self._tokenizer)
        if lost:
            raise ModelError(f"{name} is not whole: {lost}; save or download it again")


def open_prompt_tokenizer(
    base: str,
    revision: str | None = None,
    name: str = "tokenizer",
    most: int | None = None,
    others: Mapping[str, int | None] = {},
) -> PromptTokenizer:
    """Open the tokenizers of a base model without its networks; raise ModelError if one is missing or broken.

    Args:
        name: the component.
        most: tokens that the pipeline reads at most; None for the tokenizer's own limit.
        others: further tokenizers that may cut a prompt, with the tokens that the pipeline reads whatever their own
            limit is, None for that limit; those without a text encoder are left out.
    """
    source, problem = model_source(base), f"model.base: the tokenizer of {base!r} cannot be opened"
    with loading(lambda error: ModelError(f"{problem} ({reason(error)}); save it again")):
        if not Path(source).is_dir():
            source = hub_folder(source, revision, ["model_index.json", *(f"{each}/*" for each in (name, *others))])
        named = check_components(Path(source))

        def read(component: str) -> Any:
            kind = component_class(component, *named[component])
            return kind.from_pretrained(Path(source) / component, trust_remote_code=False)

        used = [other for other in others if other.replace("tokenizer", "text_encoder") in named]
        further = {other: PromptTokenizer(read(other)) for other in used}
        tokenizer = PromptTokenizer(read(name), most, [*further.values()])
    tokenizer.check()
    for other, opened in further.items():
        opened.max_tokens = others[other] or opened.max_tokens
        opened.check(f"model.base: {other}", limited=False)
    return tokenizer


def open_named_tokenizer(name: str, most: int | None = None) -> PromptTokenizer:
    """Open a tokenizer by itself, a local folder or a hub id; raise ModelError if it is missing or broken.

    Args:
        most: tokens that are read at most; None for the tokenizer's own limit, which must then be one.
    """
    advice = "give a folder that save_pretrained wrote, or a hub id"
    with loading(lambda error: ModelError(f"no tokenizer in {name!r} ({reason(error)}); {advice}")):
        folder = name
        if not Path(name).is_dir():
            folder = hub_folder(name, patterns=TOKENIZER_PATTERNS)
        elsewhere = tokenizer_leads_elsewhere(Path(folder))
        if elsewhere is not None:
            raise ModelError(elsewhere)
        tokenizer = PromptTokenizer(transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False), most)
        tokenizer.check(f"the tokenizer {name!r}", ", or set --max-tokens", limited=most is None)
    return tokenizer
