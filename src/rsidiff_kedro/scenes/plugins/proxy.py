"""Score images with the embedded preference model, a small learned scorer that errs as real ones do.

It was trained like them: first to tell matching pairs from wrong ones, then on pairwise preferences of annotators
(Bradley-Terry). Its score is a logit; compare scores within a prompt.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional

from rsidiff_kedro.core.tensor_files import write_safetensors
from rsidiff_kedro.rewards.checkpoints import build_network, read_weights
from rsidiff_kedro.rewards.encoding import in_micro_batches
from rsidiff_kedro.rewards.sources import CheckpointError
from rsidiff_kedro.scenes import PROXY_FOLDER

MAX_WORDS = 16


@dataclass(frozen=True)
class ProxyConfig:
    """Sizes, and the words that the model knows; all others are one unknown word."""

    vocabulary: tuple[str, ...]
    image_size: Annotated[int, Field(ge=4, le=1024, multiple_of=4)] = 32
    width: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 96
    layers: Annotated[int, Field(ge=1, le=100)] = 2


def _block(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU())


class ProxyModel(nn.Module):
    """Scores an image by the likelihood of its caption and by how sound it looks.

    A decoder reads convolutional features of 8 x 8 places and predicts the caption word by word, which it learns
    quickly. A second head rates the features alone.
    """

    def __init__(self, config: ProxyConfig) -> None:
        super().__init__()
        self.config = config
        width, words = config.width, len(config.vocabulary) + 2
        self.trunk = nn.Sequential(_block(3, 32, 1), _block(32, 64, 2), _block(64, width, 2), _block(width, width, 1))
        self.places = nn.Parameter(0.02 * torch.randn((config.image_size // 4) ** 2, width))
        self.words = nn.Embedding(words, width, padding_idx=0)
        self.order = nn.Parameter(0.02 * torch.randn(MAX_WORDS, width))
        self.readers = nn.ModuleList(
            nn.TransformerDecoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(config.layers)
        )
        self.next_word = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words))
        self.soundness = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 1))
        self.likelihood_weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor, words: Tensor) -> Tensor:
        """Score images [n, 3, h, w] in [-1, 1] against word ids [n, 16] (0 pads): [n]."""
        return self.read(images, words)[0]

    def read(self, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores [n], and each word's log likelihood given image and earlier words: [n, 16], 0 on padding."""
        maps = self.trunk(images)
        seen = maps.flatten(2).transpose(1, 2) + self.places
        before = functional.pad(words, (1, -1))  # the first word follows on padding
        state = self.words(before) + self.order
        later = torch.ones(MAX_WORDS, MAX_WORDS, dtype=torch.bool, device=words.device).triu(1)
        for reader in self.readers:
            state = reader(state, seen, tgt_mask=later)
        likelihoods = self.next_word(state).log_softmax(-1).gather(-1, words[..., None])[..., 0] * (words != 0)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        sound = self.soundness(pooled)[:, 0]
        return self.likelihood_weight * likelihoods.sum(1) + sound, likelihoods

    def features(self, images: Tensor) -> Tensor:
        """Return the mean of image features over places: [n, width]."""
        return self.trunk(images).mean(dim=(2, 3))

    def word_ids(self, texts: Sequence[str]) -> Tensor:
        """Return word ids [n, 16]: 0 pads, 1 is an unknown word or an empty text."""
        known = {word: number for number, word in enumerate(self.config.vocabulary, start=2)}
        ids = torch.zeros(len(texts), MAX_WORDS, dtype=torch.long)
        for row, text in enumerate(texts):
            numbers = [known.get(word.strip(".,"), 1) for word in text.lower().split()[:MAX_WORDS]] or [1]
            ids[row, : len(numbers)] = torch.tensor(numbers)
        return ids

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        write_safetensors(weights, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path, use_safetensors: Literal[True] = True) -> "ProxyModel":
        """Read the folder that `save_pretrained` wrote; other classes use `use_safetensors`, too.

        Raises:
            FileNotFoundError: config.json or model.safetensors does not exist.
            CheckpointError: one of them is damaged, or they do not fit each other.
        """
        path = Path(folder) / "model.safetensors"
        try:
            config = TypeAdapter(ProxyConfig).validate_json((Path(folder) / "config.json").read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise CheckpointError(
                f"{folder}/config.json is no configuration of the proxy ({where}: {first['msg']}); save the model again"
            ) from error
        return build_network(lambda: cls(config), read_weights(path), path)


class ProxyReward:
    """Scores and embeds images in micro-batches of a fixed size."""

    def __init__(
        self, checkpoint: str | None = None, micro_batch_size: int = 64, model: ProxyModel | None = None
    ) -> None:
        self.model = model if model is not None else ProxyModel.from_pretrained(checkpoint or PROXY_FOLDER)
        self.micro_batch_size = micro_batch_size

    def can_read(self, prompt: str) -> bool:
        """Tell whether the model knows every word of a prompt."""
        return 1 not in self.model.word_ids([prompt])[0] or not prompt.strip()

    @torch.no_grad()
    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return logits that image and prompt match: float32 [n], higher is better."""
        return self._map(images, lambda batch, rows: self.model(batch, self.model.word_ids([prompts[i] for i in rows])))

    @torch.no_grad()
    def embed(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return image features: float32 [n, width]; the prompts are not read."""
        return self._map(images, lambda batch, rows: self.model.features(batch))

    def _map(self, images: Sequence[Image.Image], compute) -> np.ndarray:  # type: ignore[no-untyped-def]
        def of_rows(rows: list[int]) -> Tensor:
            return compute(torch.stack([self._tensor(images[row]) for row in rows]), rows)

        results = in_micro_batches(range(len(images)), self.micro_batch_size, of_rows)
        return torch.stack(results).numpy() if results else np.empty((0,), np.float32)

    def _tensor(self, image: Image.Image) -> Tensor:
        size = self.model.config.image_size
        rgb = image.convert("RGB")
        pixels = np.asarray(rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.BICUBIC))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1.0
