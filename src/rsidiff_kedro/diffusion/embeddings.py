"""What a denoiser reads of a prompt."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextEmbeddings:
    """Embeddings of n prompts.

    Attributes:
        states: an embedding a token, [n, tokens, width].
        pooled: an embedding a prompt, [n, width]; None for families that have none.
    """

    states: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.states)

    def __getitem__(self, rows: Tensor | slice) -> "TextEmbeddings":
        return TextEmbeddings(self.states[rows], None if self.pooled is None else self.pooled[rows])

    def to(self, device: torch.device) -> "TextEmbeddings":
        """The same embeddings on a device."""
        return TextEmbeddings(self.states.to(device), None if self.pooled is None else self.pooled.to(device))

    def repeat(self, count: int) -> "TextEmbeddings":
        """One prompt's embeddings for `count` samples."""
        return TextEmbeddings(
            self.states.expand(count, -1, -1), None if self.pooled is None else self.pooled.expand(count, -1)
        )

    def replace(self, rows: Tensor, other: "TextEmbeddings") -> "TextEmbeddings":
        """These, with one prompt's (`other`) in the rows where the mask [n] is true."""
        rows = rows.to(self.states.device)
        states = torch.where(rows[:, None, None], other.states, self.states)
        if self.pooled is None or other.pooled is None:
            return TextEmbeddings(states)
        return TextEmbeddings(states, torch.where(rows[:, None], other.pooled, self.pooled))


def concatenate_embeddings(parts: Iterable[TextEmbeddings]) -> TextEmbeddings:
    """One after the other."""
    parts = list(parts)
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return TextEmbeddings(torch.cat([part.states for part in parts]), torch.cat(pooled) if pooled else None)
