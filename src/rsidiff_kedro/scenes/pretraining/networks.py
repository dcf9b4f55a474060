"""Trains the embedded default from a corpus: autoencoder, text encoder and UNet, preference model; each resumes."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.scenes.plugins.proxy import ProxyConfig, ProxyModel
from rsidiff_kedro.scenes.pretraining import autoencoder as autoencoding
from rsidiff_kedro.scenes.pretraining.annotators import label_pairs
from rsidiff_kedro.scenes.pretraining.corpus import corpus_pixels
from rsidiff_kedro.scenes.pretraining.denoiser import LatentPairs, Network, Phase, assemble_pipeline
from rsidiff_kedro.scenes.pretraining.denoiser import train_denoiser as train_network
from rsidiff_kedro.scenes.pretraining.pretraining_settings import BaseModelSettings
from rsidiff_kedro.scenes.pretraining.proxy import LabelledPairs, Preferences, pretrain_proxy, tune_proxy
from rsidiff_kedro.scenes.world.grammar import (
    BACKGROUNDS,
    COLORS,
    HELD_OUT,
    RELATIONS,
    SHAPES,
    SIZES,
    Scene,
    bucket,
    sample_distinct_scenes,
)

_SAID = (SHAPES, SIZES, COLORS, BACKGROUNDS, RELATIONS)
GRAMMAR_WORDS = (*sorted({word for names in _SAID for name in names for word in name.split()}), "a", "on", "background")


def train_autoencoder(
    pairs: pd.DataFrame, settings: BaseModelSettings, unfinished: Path | None
) -> tuple[AutoencoderKL, list[float]]:
    """Train the autoencoder on the pictures of a corpus; also returns the losses."""
    given = settings.autoencoder
    checkpoint = _checkpoint(unfinished, "autoencoder")
    return autoencoding.train_autoencoder(
        corpus_pixels(pairs), given.channels, given.latent_channels, given.schedule(), settings.seed, checkpoint
    )


def train_base(
    clean_pairs: pd.DataFrame,
    pairs: pd.DataFrame,
    autoencoder: AutoencoderKL,
    settings: BaseModelSettings,
    unfinished: Path | None,
) -> tuple[StableDiffusionPipeline, StableDiffusionPipeline, list[float]]:
    """Train text encoder and UNet on the corpus, and join them with its autoencoder.

    Args:
        clean_pairs: the corpus without noise, which phases with `clean: true` draw from.
        pairs: the corpus, for the other phases.

    Returns:
        the base; what the first phase left of it; the losses.
    """
    given = settings.denoiser
    drawn_from = {phase.clean for phase in given.phases}
    corpora = {clean: _encode(clean_pairs if clean else pairs, autoencoder) for clean in drawn_from}
    phases = [
        Phase(phase.schedule(), corpora[phase.clean], _checkpoint(unfinished, f"denoiser_{number}"))
        for number, phase in enumerate(given.phases, start=1)
    ]
    network = Network(given.channels, given.text_width, given.text_layers)
    denoisers, tokenizer, losses = train_network(network, phases, settings.seed)
    first, last = (assemble_pipeline(autoencoder, denoisers[index], tokenizer) for index in (0, -1))
    return last, first, losses


def _encode(pairs: pd.DataFrame, autoencoder: AutoencoderKL) -> LatentPairs:
    latents = autoencoding.encode(autoencoder.eval(), corpus_pixels(pairs)).half()
    return LatentPairs(latents, pairs["caption"].tolist())


def train_proxy(
    pairs: pd.DataFrame,
    images: ImageSet,
    answers: pd.DataFrame,
    settings: BaseModelSettings,
    unfinished: Path | None,
) -> ProxyModel:
    """Train the preference model: matching and wrong pairs of the corpus, then annotators' answers on `images`."""
    given = settings.proxy
    torch.manual_seed(settings.seed)
    model = ProxyModel(ProxyConfig(GRAMMAR_WORDS, width=given.width, layers=given.layers))
    labels = label_pairs(pairs, given.wrong_share, settings.seed)
    labelled = LabelledPairs(
        _channels_first(corpus_pixels(pairs)),
        model.word_ids(labels["caption"].tolist()),
        torch.tensor(labels["label"].to_numpy(np.float32)),
    )
    row = {image_id: number for number, image_id in enumerate(images.metadata["image_id"])}
    preferences = Preferences(
        _channels_first(np.stack([np.asarray(image) for image in images.images])),
        model.word_ids(images.metadata["text"].tolist()),
        torch.tensor([row[image_id] for image_id in answers["better"]]),
        torch.tensor([row[image_id] for image_id in answers["worse"]]),
    )
    pairs_at, answers_at = (_checkpoint(unfinished, f"proxy_{name}") for name in ("pairs", "preferences"))
    pretrain_proxy(model, labelled, given.pairs.schedule(), settings.seed, pairs_at)
    tune_proxy(model, labelled, preferences, given.preferences.schedule(), settings.seed, answers_at)
    return model


def held_out_scenes(one_object: int, two_objects: int, seed: int) -> list[Scene]:
    """Scenes whose captions the corpus does not have.

    Raises:
        ValueError: there are not so many with one object.
    """
    rng = np.random.default_rng(seed)
    chosen: list[Scene] = []
    for n_objects, count in ((1, one_object), (2, two_objects)):
        found = (scene for scene in sample_distinct_scenes(rng, n_objects) if bucket(scene) < HELD_OUT)
        part = [scene for _, scene in zip(range(count), found, strict=False)]
        if len(part) < count:
            raise ValueError(
                f"base_model.held_out.one_object is {count}, but only {len(part)} such scenes are held out"
            )
        chosen += part
    return chosen


def _channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _checkpoint(unfinished: Path | None, name: str) -> Path | None:
    """Where a training's state is kept and resumed from, in the folder of unfinished work if there is one."""
    return unfinished / f"{name}.safetensors" if unfinished is not None else None
