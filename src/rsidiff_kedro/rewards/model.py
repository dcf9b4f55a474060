"""Open a preference model: network, tokenizer and the record of its scores."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from rsidiff_kedro.rewards.checkpoints import build_network, check_weights, read_weights
from rsidiff_kedro.rewards.image_processor import read_normalization
from rsidiff_kedro.rewards.preprocessing import OPENAI, Normalization
from rsidiff_kedro.rewards.settings import Computing
from rsidiff_kedro.rewards.sources import check_source, describe, fetch


class PreferenceModel(ABC):
    """A network of transformers on an official checkpoint.

    Attributes:
        hub_id: the official checkpoint's Hugging Face id.
        tokenizer_id: the official tokenizer's; None: the checkpoint's own.
        file_name: of the weights, in a folder and on the hub.
        network_class: called with the configuration.
        open_tokenizer: called with source, size of the vocabulary, and revision of a hub id.
        own_normalization: whether images are normalized as the checkpoint's image processor says, not as published.
    """

    hub_id: ClassVar[str]
    tokenizer_id: ClassVar[str | None] = None
    file_name: ClassVar[str]
    network_class: ClassVar[Any]
    open_tokenizer: ClassVar[Any]
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
            CheckpointError: the checkpoint or the tokenizer is missing, broken or of another model.
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
        computed = self.computing.model_dump() | {"device": self.computing.place.type}
        self.record = {**describe(checkpoint, revision, path), "tokenizer": tokenizer, **computed}
        if self.normalization != OPENAI:
            self.record["normalization"] = {name: [*each] for name, each in self.normalization._asdict().items()}

    @classmethod
    def check(
        cls, checkpoint: str | None = None, tokenizer: str | None = None, revision: str | None = None, **_: Any
    ) -> None:
        """Raise CheckpointError if the model cannot be opened, as far as a second's check finds out.

        Downloads only the small files of a hub's model that is not cached.
        """
        checkpoint, tokenizer, tokenizer_revision = cls._sources(checkpoint, tokenizer, revision)
        path = check_source(checkpoint, cls.file_name, revision)
        config = cls._config(checkpoint, revision)
        if path is not None:
            check_weights(lambda: cls.network_class(config), cls._weights(path), path)
        cls.open_tokenizer(tokenizer, config.text_config.vocab_size, tokenizer_revision)
        cls._normalization(checkpoint, revision, config.vision_config.image_size)

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
