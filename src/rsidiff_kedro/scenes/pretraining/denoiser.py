"""Build the embedded model's tokenizer, and train its text encoder and UNet together on the corpus's latents."""

import copy
import json
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from rsidiff_kedro.scenes.pretraining.fitting import Schedule, fit
from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, COLORS, RELATIONS, SHAPES, SIZES, Scene, parse_caption

MAX_TOKENS = 16


@dataclass(frozen=True)
class Network:
    """Sizes of the denoiser: UNet channels per level, width and depth of the text encoder."""

    channels: tuple[int, ...] = (96, 128)
    text_width: int = 96
    text_layers: int = 2


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


def build_scheduler() -> DDIMScheduler:
    """Build a noise scheduler: v-prediction, zero terminal signal-to-noise ratio, trailing steps (arXiv 2305.08891)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
    )


class Denoiser(nn.Module):
    """Text encoder and UNet as one trainable network."""

    def __init__(self, network: Network, tokenizer: CLIPTokenizer, latent_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=network.text_width,
                intermediate_size=network.text_width * 8 // 3,
                num_hidden_layers=network.text_layers,
                num_attention_heads=4,
                max_position_embeddings=MAX_TOKENS,
                hidden_act="gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.unet = UNet2DConditionModel(
            sample_size=latent_shape[1],
            in_channels=latent_shape[0],
            out_channels=latent_shape[0],
            block_out_channels=network.channels,
            down_block_types=("CrossAttnDownBlock2D",) * len(network.channels),
            up_block_types=("CrossAttnUpBlock2D",) * len(network.channels),
            layers_per_block=1,
            cross_attention_dim=network.text_width,
            attention_head_dim=4,  # diffusers' name for the number of heads
            norm_num_groups=16,
        )

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict v: latents [n, c, h, w], timesteps [n], tokens [n, 16] -> [n, c, h, w]."""
        return self.unet(noisy, timesteps, self.text_encoder(tokens).last_hidden_state).sample


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


def warm_start(denoiser: Denoiser, captions: list[str], tokens: Tensor, schedule: Schedule, seed: int) -> list[float]:
    """Teach the text encoder to tell captions apart before the UNet depends on it.

    A temporary linear head predicts a caption's facts from the last token's state.
    """
    labels = torch.tensor([_facts(parse_caption(caption)) for caption in captions])
    head = nn.Linear(denoiser.text_encoder.config.hidden_size, sum(_CLASSES))
    both = nn.ModuleList([denoiser.text_encoder, head])

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(captions), (schedule.batch_size,), generator=generator)
        states = denoiser.text_encoder(tokens[chosen]).pooler_output
        parts = zip(head(states).split(_CLASSES, dim=1), labels[chosen].unbind(dim=1))
        return torch.stack([functional.cross_entropy(part, label) for part, label in parts]).mean()

    return fit(both, loss_of_batch, schedule, seed, "text encoder")


def draw_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Sample timesteps in [0, 1000): logit-normal(0.4, 1.1) for 85 %, uniform for 15 %."""
    middle = torch.sigmoid(0.4 + 1.1 * torch.randn(count, generator=generator))
    uniform = torch.rand(count, generator=generator)
    share = torch.where(torch.rand(count, generator=generator) < 0.15, uniform, middle)
    return (share * 1000).long().clamp(0, 999)


@dataclass(frozen=True)
class LatentPairs:
    """Latents [n, c, h, w] and their captions."""

    latents: Tensor
    captions: list[str]


@dataclass(frozen=True)
class Phase:
    """A part of the training: its schedule, its data and the file of its state."""

    schedule: Schedule
    pairs: LatentPairs
    checkpoint: Path | None = None


def train_denoiser(
    network: Network, phases: Sequence[Phase], seed: int
) -> tuple[list[Denoiser], CLIPTokenizer, list[float]]:
    """Train text encoder and UNet in phases, each from the moving average of the phase before.

    Returns:
        the denoiser after each phase; the tokenizer; the mean loss of every `LOGGED_EVERY` steps of all phases.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    first = phases[0].pairs
    denoiser = Denoiser(network, tokenizer, tuple(first.latents.shape[1:]))  # type: ignore[arg-type]
    warm_start(denoiser, first.captions, tokenize(tokenizer, first.captions), Schedule(600, 64, 1e-3), seed)
    left, losses = [], []
    for number, phase in enumerate(phases, start=1):
        loss_of_batch = _denoising_loss(denoiser, tokenizer, phase.pairs, phase.schedule.batch_size)
        title = f"text encoder and UNet, phase {number}"
        losses += fit(denoiser, loss_of_batch, phase.schedule, seed + number, title, phase.checkpoint)
        left.append(copy.deepcopy(denoiser))
    return left, tokenizer, losses


def _denoising_loss(
    denoiser: Denoiser, tokenizer: CLIPTokenizer, pairs: LatentPairs, size: int
) -> Callable[[torch.Generator], Tensor]:
    """Return the loss of a random batch: mean squared error of v, a tenth of the captions dropped for guidance."""
    tokens, empty = tokenize(tokenizer, pairs.captions), tokenize(tokenizer, [""])
    alphas = build_scheduler().alphas_cumprod

    def loss_of_batch(generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(pairs.latents), (size,), generator=generator)
        clear = pairs.latents[chosen].float()
        noise = torch.randn(clear.shape, generator=generator)
        timesteps = draw_timesteps(size, generator)
        dropped = torch.rand(size, generator=generator) < 0.1
        said = torch.where(dropped[:, None], empty, tokens[chosen])
        signal = alphas[timesteps].sqrt()[:, None, None, None]
        sigma = (1 - alphas[timesteps]).sqrt()[:, None, None, None]
        prediction = denoiser(signal * clear + sigma * noise, timesteps, said)
        return functional.mse_loss(prediction, signal * noise - sigma * clear)

    return loss_of_batch


def assemble_pipeline(
    autoencoder: AutoencoderKL, denoiser: Denoiser, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """Assemble a plain StableDiffusionPipeline of the trained parts."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
