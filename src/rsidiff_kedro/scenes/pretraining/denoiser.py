"""Build the embedded models' tokenizer, and train text encoders and denoising network together on latents."""

import copy
import json
import string
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTokenizer

from rsidiff_kedro.scenes.pretraining.fitting import Schedule, fit
from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, COLORS, RELATIONS, SHAPES, SIZES, Scene, parse_caption

MAX_TOKENS = 16
CPU = torch.device("cpu")
WARM_START = Schedule(600, 64, 1e-3)
"""Of a text encoder."""


class Denoiser(nn.Module, ABC):
    """Text encoders and denoising network as one trainable network.

    Attributes:
        text_encoders: each reads all tokens.
        stacked: whether it is trained with `StackedMuon` on a CPU too.
    """

    text_encoders: list[Any]
    stacked: ClassVar[bool] = False

    @abstractmethod
    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict what `noised` says: latents [n, c, h, w], timesteps [n], tokens [n, 16] -> [n, c, h, w]."""

    @abstractmethod
    def noised(self, clear: Tensor, noise: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Mix latents and noise at random timesteps; return the mixture, the timesteps and what to predict."""

    @abstractmethod
    def assemble(self, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> Any:
        """Assemble a plain diffusers pipeline of the trained parts."""


Build = Callable[[CLIPTokenizer, tuple[int, int, int]], Denoiser]
"""Builds a denoiser for a tokenizer and the shape of latents."""


def build_tokenizer() -> CLIPTokenizer:
    """Build a CLIP tokenizer with one token per word of the grammar; other text is spelled."""
    words = " ".join((*SHAPES, *SIZES, *COLORS, *BACKGROUNDS, *RELATIONS, "a on background"))
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    alphabet = string.ascii_lowercase + string.digits + ".,'-!?"
    # Special tokens get their ids first and in order; the trainer would number these characters at random.
    characters = [*alphabet, *(f"{character}</w>" for character in alphabet)]
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=characters, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator([words], trainer)
    state = json.loads(bpe.to_str())["model"]
    count, end = len(state["vocab"]), "<|endoftext|>"
    vocabulary = state["vocab"] | {"<|startoftext|>": count, end: count + 1}
    merges = [tuple(pair) for pair in state["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, unk_token=end, model_max_length=MAX_TOKENS)


def text_config(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPTextConfig:
    """Describe a text encoder for this tokenizer."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Return token ids [n, 16], padded and truncated as the pipeline does."""
    encoded = tokenizer(captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt")
    return encoded.input_ids


_PLACES = ("centre", "left", "right", "top", "bottom")
_PLACES_OF = {
    None: ("centre",),
    "left of": ("left", "right"),
    "right of": ("right", "left"),
    "above": ("top", "bottom"),
    "below": ("bottom", "top"),
}
"""Places of a caption's objects by their relation."""
_CLASSES = [1 + len(names) for names in (SHAPES, COLORS, SIZES) * len(_PLACES)] + [1 + len(BACKGROUNDS)]


def _facts(scene: Scene) -> list[int]:
    """Return class indices (0: not named) of shape, color and size at each place, and of the background.

    They are in the order of places, not of words, so a UNet finds an object's attributes at its place. From the order
    of words and the relation it hardly learned the places of two objects.
    """
    there = dict(zip(_PLACES_OF[scene.relation], scene.objects, strict=True))
    facts = []
    for item in map(there.get, _PLACES):
        for name, names in (("shape", SHAPES), ("color", COLORS), ("size", SIZES)):
            facts.append((None, *names).index(getattr(item, name, None)))
    return [*facts, (None, *BACKGROUNDS).index(scene.background)]


def warm_start(
    text_encoder: Any, captions: list[str], tokens: Tensor, schedule: Schedule, seed: int, stacked: bool = False
) -> list[float]:
    """Teach a text encoder to tell captions apart before the denoising network depends on it.

    A temporary linear head predicts a caption's facts from the last token's state, or its projection.
    """
    device = text_encoder.device
    labels = torch.tensor([_facts(parse_caption(caption)) for caption in captions], device=device)
    head = nn.Linear(text_encoder.config.hidden_size, sum(_CLASSES)).to(device)
    both = nn.ModuleList([text_encoder, head])

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(captions), (schedule.batch_size,), generator=generator, device=device)
        read = text_encoder(tokens[chosen])
        states = read.text_embeds if "text_embeds" in read else read.pooler_output
        parts = zip(head(states).split(_CLASSES, dim=1), labels[chosen].unbind(dim=1))
        return torch.stack([functional.cross_entropy(part, label) for part, label in parts]).mean()

    return fit(both, loss_of_batch, schedule, seed, "text encoder", stacked=stacked)


@dataclass(frozen=True)
class LatentPairs:
    """Latents [n, c, h, w] and their captions."""

    latents: Tensor
    captions: list[str]

    @cached_property
    def tokens(self) -> Tensor:
        """Return the captions' token ids [n, 16]."""
        return tokenize(build_tokenizer(), self.captions)


@dataclass(frozen=True)
class Phase:
    """A part of the training: its schedule, its data and the file of its state."""

    schedule: Schedule
    pairs: LatentPairs
    checkpoint: Path | None = None


def train_denoiser(
    build: Build, phases: Sequence[Phase], seed: int, device: torch.device = CPU
) -> tuple[list[Denoiser], CLIPTokenizer, list[float]]:
    """Train text encoders and denoising network in phases, each from the moving average of the phase before.

    Returns:
        the denoiser after each phase, on the CPU; the tokenizer; the mean loss of every `LOGGED_EVERY` steps of all
        phases.
    """
    denoiser, tokenizer = start_denoiser(build, phases[0].pairs, seed, device)
    left, losses = [], []
    for number, phase in enumerate(phases, start=1):
        losses += train_phase(denoiser, phase, seed, number)
        left.append(copy.deepcopy(denoiser).cpu())
    return left, tokenizer, losses


def start_denoiser(
    build: Build, pairs: LatentPairs, seed: int, device: torch.device = CPU
) -> tuple[Denoiser, CLIPTokenizer]:
    """Build a denoiser on a device, whose text encoders already tell captions apart."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    denoiser = build(tokenizer, tuple(pairs.latents.shape[1:])).to(device)  # type: ignore[arg-type]
    tokens = pairs.tokens.to(device)
    for text_encoder in denoiser.text_encoders:
        warm_start(text_encoder, pairs.captions, tokens, WARM_START, seed, denoiser.stacked)
    return denoiser, tokenizer


def train_phase(denoiser: Denoiser, phase: Phase, seed: int, number: int) -> list[float]:
    """Train a denoiser in place; return the mean loss of every `LOGGED_EVERY` steps."""
    loss_of_batch = _denoising_loss(denoiser, phase.pairs, phase.schedule.batch_size)
    title = f"text encoder and denoiser, phase {number}"
    return fit(denoiser, loss_of_batch, phase.schedule, seed + number, title, phase.checkpoint, denoiser.stacked)


def _denoising_loss(denoiser: Denoiser, pairs: LatentPairs, size: int) -> Callable[[torch.Generator], Tensor]:
    """Return the loss of a random batch: mean squared error, a tenth of the captions dropped for guidance."""
    device = next(denoiser.parameters()).device
    tokens, empty = pairs.tokens.to(device), tokenize(build_tokenizer(), [""]).to(device)
    latents = pairs.latents.to(device)

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(latents), (size,), generator=generator, device=device)
        clear = latents[chosen].float()
        noise = torch.randn(clear.shape, generator=generator, device=device)
        noisy, timesteps, target = denoiser.noised(clear, noise, generator)
        dropped = torch.rand(size, generator=generator, device=device) < 0.1
        prediction = denoiser(noisy, timesteps, torch.where(dropped[:, None], empty, tokens[chosen]))
        return functional.mse_loss(prediction.float(), target)

    return loss_of_batch
