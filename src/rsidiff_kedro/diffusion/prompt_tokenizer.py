"""Count the tokens of prompts as the model's text encoder reads them; only the tokenizer is opened."""

from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import snapshot_download

from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.diffusion.model_folder import ModelError, check_components, component_class, model_source

MANY_TOKENS = 100_000
"""A tokenizer that was saved without its limit says 10^30."""


class PromptTokenizer:
    """The tokenizer that limits a prompt's length.

    Attributes:
        max_tokens: how many tokens the text encoder reads, start and end tokens included.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.max_tokens = int(tokenizer.model_max_length)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def count(self, texts: list[str]) -> list[int]:
        """Count the tokens of each text, start and end tokens included; nothing is cut."""
        return [len(ids) for ids in self._tokenizer(texts, truncation=False, padding=False, verbose=False).input_ids]

    def check(self) -> None:
        """Raise ModelError if the tokenizer has no limit or no vocabulary."""
        if not 2 < self.max_tokens < MANY_TOKENS:
            raise ModelError(
                f"model.base: the tokenizer reads {self.max_tokens} tokens (model_max_length); a text encoder reads "
                "some hundreds at most: put the right number into tokenizer_config.json"
            )
        if len(self._tokenizer) < 3 or self.count(["a"]) == self.count(["a cat on a chair"]):
            raise ModelError(
                "model.base: the tokenizer makes the same tokens of all texts: its vocabulary is missing; save it again"
            )


def open_prompt_tokenizer(base: str, revision: str | None = None) -> PromptTokenizer:
    """Open the tokenizer of a base model; no network is opened.

    Args:
        base: as `model.base`.
        revision: as `model.revision`.

    Raises:
        ModelError: it is missing or broken.
    """

    def refuse(error: Exception) -> ModelError:
        return ModelError(f"model.base: the tokenizer of {base!r} cannot be opened ({reason(error)}); save it again")

    source = model_source(base)
    with loading(refuse):
        if not Path(source).is_dir():
            source = snapshot_download(source, revision=revision, allow_patterns=["model_index.json", "tokenizer/*"])
        check_components(Path(source))
        kind = getattr(transformers, component_class(Path(source), "tokenizer"))
        tokenizer = PromptTokenizer(kind.from_pretrained(Path(source) / "tokenizer", trust_remote_code=False))
    tokenizer.check()
    return tokenizer


def open_named_tokenizer(name: str) -> PromptTokenizer:
    """Open a tokenizer by itself: a local folder or a hub id.

    Raises:
        ModelError: it cannot be opened.
    """

    def refuse(error: Exception) -> ModelError:
        return ModelError(f"no tokenizer in {name!r} ({reason(error)}); give a folder of save_pretrained, or a hub id")

    with loading(refuse):
        return PromptTokenizer(transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False))
