"""Open a preference model: network, tokenizer and the record of its scores."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.network_weights import TRIED, tells_apart
from rsidiff_kedro.rewards.checkpoints import build_network, build_part, check_weights, read_weights
from rsidiff_kedro.rewards.image_processor import read_normalization
from rsidiff_kedro.rewards.preprocessing import OPENAI, Normalization
from rsidiff_kedro.rewards.settings import Computing
from rsidiff_kedro.rewards.sources import CheckpointError, check_source, describe, fetch


class PreferenceModel(ABC):
    """A network of transformers on an official checkpoint.

    Attributes:
        hub_id: the official checkpoint's Hugging Face id.
        tokenizer_id: the official tokenizer's; None: the checkpoint's own.
        file_name: of the weights, in a folder and on the hub.
        network_class: called with the configuration.
        open_tokenizer: called with source, size of the vocabulary, and revision of a hub id.
        reads_prompt: beginnings of the names of the weights that read a prompt; none if no prompt is read.
        own_normalization: whether images are normalized as the checkpoint's image processor says, not as published.
    """

    hub_id: ClassVar[str]
    tokenizer_id: ClassVar[str | None] = None
    file_name: ClassVar[str]
    network_class: ClassVar[Any]
    open_tokenizer: ClassVar[Any]
    reads_prompt: ClassVar[tuple[str, ...]]
    own_normalization: ClassVar[bool] = False

    def __init__(
        self, checkpoint: str | None = None, tokenizer: str | None = None, revision: str | None = None, **computing: Any
    ) -> None:
        """Open a model.

        Args:
            checkpoint: a local folder or file, or a Hugging Face id; None: the official one.
            tokenizer: a local folder or a Hugging Face id; None: the official one.
            revision: of the checkpoint's Hugging Face id.
            computing: device, dtype, micro_batch_size; see `Computing`.

        Raises:
            CheckpointError: the checkpoint or the tokenizer is missing, broken or of another model, or the network
                tells no prompts apart.
        """
        self.computing = Computing(**computing)
        checkpoint, tokenizer, tokenizer_revision = self._sources(checkpoint, tokenizer, revision)
        path = fetch(checkpoint, self.file_name, revision)
        config = self._config(checkpoint, revision)
        network = build_network(lambda: self.network_class(config), self._weights(path), path, self.computing.dtype)
        self.network = network.to(self.computing.place)
        self.tokenizer = self.open_tokenizer(tokenizer, config.text_config.vocab_size, tokenizer_revision)
        self.image_size: int = config.vision_config.image_size
        self.normalization = self._normalization(checkpoint, revision, self.image_size)
        self._check_prompts(self.network, self.tokenizer, path)
        computed = self.computing.model_dump() | {"device": self.computing.place.type}
        self.record = {**describe(checkpoint, revision, path), "tokenizer": tokenizer, **computed}
        if self.normalization != OPENAI:
            self.record["normalization"] = {name: [*each] for name, each in self.normalization._asdict().items()}

    @classmethod
    def check(
        cls, checkpoint: str | None = None, tokenizer: str | None = None, revision: str | None = None, **_: Any
    ) -> None:
        """Raise CheckpointError if the model cannot be opened, as far as a check of seconds finds out.

        Of the network only the text encoder reads anything. Downloads only the small files of a hub's model that is not
        cached.
        """
        checkpoint, tokenizer, tokenizer_revision = cls._sources(checkpoint, tokenizer, revision)
        path = check_source(checkpoint, cls.file_name, revision)
        config = cls._config(checkpoint, revision)
        weights = cls._weights(path) if path is not None else {}
        if path is not None:
            check_weights(lambda: cls.network_class(config), weights, path)
        opened = cls.open_tokenizer(tokenizer, config.text_config.vocab_size, tokenizer_revision)
        cls._normalization(checkpoint, revision, config.vision_config.image_size)
        if path is not None:
            read = {name: each.float() for name, each in weights.items() if name.startswith(cls.reads_prompt)}
            cls._check_prompts(build_part(lambda: cls.network_class(config), read), opened, path)

    @classmethod
    @torch.no_grad()
    def _check_prompts(cls, network: Any, tokenizer: Any, path: Path) -> None:
        """Raise CheckpointError if the part of a network that reads prompts tells none apart."""
        if not cls.reads_prompt:
            return

        def refuse(error: Exception) -> CheckpointError:
            return CheckpointError(
                f"the text encoder of {str(path)!r} cannot read prompts ({reason(error, 120)}), as where "
                "text_config.eos_token_id in its config.json is no number; correct it, or save the model again"
            )

        with loading(refuse):
            apart = tells_apart(cls._embed_prompts(network, tokenizer, [cls.clean(prompt) for prompt in TRIED]))
        if not apart:
            end = tokenizer.eos_token_id
            cause = "the tokenizer is of another language"
            if end is not None:
                cause = f"text_config.eos_token_id in its config.json is not {end}, the tokenizer's end token"
            raise CheckpointError(
                f"the text encoder of {str(path)!r} returns the same embeddings for different prompts, or none "
                f"that are finite, as where {cause}; correct that, or give the official files"
            )

    @classmethod
    def token_counts(
        cls,
        prompts: Sequence[str],
        checkpoint: str | None = None,
        tokenizer: str | None = None,
        revision: str | None = None,
        **_: Any,
    ) -> tuple[list[int], int]:
        """Return the tokens of each prompt, start and end included, and how many of them the network reads.

        Raises:
            CheckpointError: the tokenizer is missing, broken or of another model.
        """
        checkpoint, tokenizer, tokenizer_revision = cls._sources(checkpoint, tokenizer, revision)
        config = cls._config(checkpoint, revision)
        opened = cls.open_tokenizer(tokenizer, config.text_config.vocab_size, tokenizer_revision)
        rows = opened([cls.clean(prompt) for prompt in prompts], truncation=False, verbose=False).input_ids
        return [len(row) for row in rows], cls._most_tokens(config)

    @classmethod
    @abstractmethod
    def _embed_prompts(cls, network: Any, tokenizer: Any, prompts: list[str]) -> Tensor:
        """Return what a network, of which the weights of `reads_prompt` suffice, makes of clean prompts: [n, d]."""

    @staticmethod
    def clean(prompt: str) -> str:
        """Return the text that is tokenized."""
        return prompt

    @classmethod
    def _most_tokens(cls, config: Any) -> int:
        return int(config.text_config.max_position_embeddings)

    @classmethod
    def _normalization(cls, checkpoint: str, revision: str | None, side: int) -> Normalization:
        return read_normalization(checkpoint, revision, side) if cls.own_normalization else OPENAI

    @classmethod
    def _sources(
        cls, checkpoint: str | None, tokenizer: str | None, revision: str | None
    ) -> tuple[str, str, str | None]:
        """Return checkpoint, tokenizer and the tokenizer's revision, which is the checkpoint's if it is its own."""
        checkpoint = checkpoint or cls.hub_id
        tokenizer = tokenizer or cls.tokenizer_id or checkpoint
        return checkpoint, tokenizer, revision if tokenizer == checkpoint else None

    @classmethod
    def _weights(cls, path: Path) -> dict[str, Tensor]:
        return read_weights(path)

    @classmethod
    @abstractmethod
    def _config(cls, checkpoint: str, revision: str | None) -> Any:
        """Return the configuration that `network_class` is called with."""
