"""Define the nodes that train and measure the embedded default; each training resumes after a kill."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.bases import model_source
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings, find_device
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.scenes.pretraining import annotators, corpus
from rsidiff_kedro.scenes.pretraining.pretraining_settings import BaseModelSettings
from rsidiff_kedro.scenes.world.grammar import BACKGROUNDS, COLORS, RELATIONS, SHAPES, SIZES, Scene

if TYPE_CHECKING:
    from torch import Tensor

Network: TypeAlias = Any
"""A network, whose class is imported only when a node needs it."""


def draw_clean_corpus(settings: BaseModelSettings) -> pd.DataFrame:
    """Render captioned pictures without noise."""
    clean = corpus.NoiseRates(caption=0.0, stray=0.0, malformed=0.0)
    return corpus.draw_corpus(settings.corpus.size, settings.corpus.two_objects, clean, settings.seed)


def draw_noisy_corpus(settings: BaseModelSettings) -> pd.DataFrame:
    """Render captioned pictures with noise."""
    given = settings.corpus
    return corpus.draw_corpus(given.size, given.two_objects, given.noise, settings.seed)


def train_autoencoder(pairs: pd.DataFrame, settings: BaseModelSettings) -> tuple[Network, pd.DataFrame]:
    """Train the autoencoder on the corpus's pictures, or open a shipped one; also return the training log."""
    from diffusers import AutoencoderKL

    from rsidiff_kedro.scenes.pretraining import autoencoder

    if settings.autoencoder.shipped is not None:
        source = model_source(settings.autoencoder.shipped)
        return AutoencoderKL.from_pretrained(source, subfolder="vae", use_safetensors=True), _log([])
    given, pixels = settings.autoencoder, corpus.corpus_pixels(pairs)
    sizes, state = (given.channels, given.latent_channels), _state("autoencoder")
    network, losses = autoencoder.train_autoencoder(pixels, *sizes, given.schedule(), settings.seed, state)
    return network, _log(losses)


def train_denoiser(
    clean_pairs: pd.DataFrame,
    pairs: pd.DataFrame,
    vae: Network,
    settings: BaseModelSettings,
    model: ModelSettings,
) -> tuple[Network, Network, pd.DataFrame]:
    """Train text encoders and denoiser on latents and captions, on the device of `model`.

    Args:
        clean_pairs: the corpus of phases with `clean: true`.
        pairs: the corpus of the other phases.

    Returns:
        the base; the state after its first phase; the training log.
    """
    from rsidiff_kedro.scenes.pretraining import autoencoder, denoiser

    given, corpora, device = settings.denoiser, {}, find_device(model.device)
    for clean in {phase.clean for phase in given.phases}:
        used = clean_pairs if clean else pairs
        latents = autoencoder.encode(vae.eval().to(device), corpus.corpus_pixels(used)).half()
        corpora[clean] = denoiser.LatentPairs(latents, used["caption"].tolist())
    phases = [
        denoiser.Phase(phase.schedule(), corpora[phase.clean], _state(f"denoiser_{number}"))
        for number, phase in enumerate(given.phases, start=1)
    ]
    trained, tokenizer, losses = denoiser.train_denoiser(given.build, phases, settings.seed, device)
    first, last = (trained[index].assemble(vae.cpu(), tokenizer) for index in (0, -1))
    return last, first, _log(losses)


def draw_held_out(
    base: Network, settings: BaseModelSettings, model: ModelSettings, sampler: SamplerSettings
) -> ImageSet:
    """Generate images for prompts that are not in the corpus."""
    given = settings.held_out
    scenes = corpus.held_out_scenes(given.one_object, given.two_objects, settings.seed)
    return _generate(base, scenes, given.samples_per_prompt, model, sampler, settings.seed, "held_out")


def draw_annotated(
    base: Network, settings: BaseModelSettings, model: ModelSettings, sampler: SamplerSettings
) -> ImageSet:
    """Generate several images for each prompt of the annotators."""
    given = settings.proxy.annotation
    scenes = annotators.annotated_scenes(given.one_object, given.two_objects, settings.seed)
    return _generate(base, scenes, given.samples_per_prompt, model, sampler, settings.seed, "annotated")


def judge(images: ImageSet) -> pd.DataFrame:
    """Judge each image."""
    from rsidiff_kedro.scenes.world.judge import judge_images

    texts = images.metadata["text"].tolist()
    return images.metadata[["image_id", "prompt_id", "text", "sample_index"]].join(judge_images(images.images, texts))


def annotate(verdicts: pd.DataFrame, settings: BaseModelSettings) -> pd.DataFrame:
    """Simulate the annotators' answers, some of them wrong."""
    given = settings.proxy.annotation
    return annotators.annotate(verdicts, given.pairs_per_prompt, given.error_rate, settings.seed)


def train_proxy(pairs: pd.DataFrame, images: ImageSet, answers: pd.DataFrame, settings: BaseModelSettings) -> Network:
    """Train the preference model on matching and wrong pairs of the corpus, then on answers about `images`."""
    import torch

    from rsidiff_kedro.scenes.plugins.proxy import ProxyConfig, ProxyModel
    from rsidiff_kedro.scenes.pretraining import proxy

    given = settings.proxy
    torch.manual_seed(settings.seed)
    groups = (SHAPES, SIZES, COLORS, BACKGROUNDS, RELATIONS)
    words = sorted({word for names in groups for name in names for word in name.split()})
    model = ProxyModel(ProxyConfig((*words, "a", "on", "background"), width=given.width, layers=given.layers))
    labels = annotators.label_pairs(pairs, given.wrong_share, settings.seed)
    labelled = proxy.LabelledPairs(
        _channels_first(corpus.corpus_pixels(pairs)),
        model.word_ids(labels["caption"].tolist()),
        torch.tensor(labels["label"].to_numpy(np.float32)),
    )
    rows = pd.Index(images.metadata["image_id"])
    preferences = proxy.Preferences(
        _channels_first(np.stack([np.asarray(image) for image in images.images])),
        model.word_ids(images.metadata["text"].tolist()),
        torch.from_numpy(rows.get_indexer(answers["better"])),
        torch.from_numpy(rows.get_indexer(answers["worse"])),
    )
    proxy.pretrain_proxy(model, labelled, given.pairs.schedule(), settings.seed, _state("proxy_pairs"))
    schedule, state = given.preferences.schedule(), _state("proxy_preferences")
    proxy.tune_proxy(model, labelled, preferences, schedule, settings.seed, state)
    return model


def measure(
    base: Network,
    log: pd.DataFrame,
    vae: Network,
    images: ImageSet,
    verdicts: pd.DataFrame,
    first_phase_verdicts: pd.DataFrame,
    settings: BaseModelSettings,
    model: ModelSettings,
    sampler: SamplerSettings,
) -> tuple[dict[str, float], str]:
    """Measure the base and write its model card."""
    from rsidiff_kedro.diffusion.opening import family_of
    from rsidiff_kedro.scenes.pretraining import cards

    figures = cards.measure_base(vae, images, verdicts, settings.seed)
    figures |= {f"first_phase/{name}": value for name, value in cards.accuracy(first_phase_verdicts).items()}
    denoiser_name = family_of(model).denoiser_name
    parameters = sum(parameter.numel() for parameter in getattr(base, denoiser_name).parameters())
    return figures, cards.base_card(figures, log, settings, sampler, parameters)


def measure_proxy(
    model: Network, images: ImageSet, verdicts: pd.DataFrame, settings: BaseModelSettings
) -> tuple[dict[str, float], str]:
    """Measure the preference model on held-out prompts and write its model card."""
    from rsidiff_kedro.scenes.pretraining import cards

    figures = cards.measure_proxy(model, images, verdicts)
    return figures, cards.proxy_card(figures, settings)


def _generate(
    base: Network,
    scenes: list[Scene],
    samples: int,
    model: ModelSettings,
    sampler: SamplerSettings,
    seed: int,
    purpose: str,
) -> ImageSet:
    from rsidiff_kedro.diffusion.opening import family_of
    from rsidiff_kedro.diffusion.sampling import sample_images

    settings = model.model_copy(update={"base": "base_model", "revision": None})
    opened = family_of(model)(base.to(find_device(model.device)), settings)
    prompts = prompt_table([scene.caption for scene in scenes], source="grammar")
    title = f"base model: {purpose} prompts"
    return sample_images(opened, None, prompts, samples, sampler, seed, purpose, title, unfinished_folder())


def _log(losses: list[float]) -> pd.DataFrame:
    from rsidiff_kedro.scenes.pretraining.fitting import LOGGED_EVERY

    return pd.DataFrame({"step": [LOGGED_EVERY * (number + 1) for number in range(len(losses))], "loss": losses})


def _channels_first(pixels: np.ndarray) -> "Tensor":
    import torch

    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _state(name: str) -> Path | None:
    """Return where a training's state is kept, or None outside a run."""
    folder = unfinished_folder()
    return folder / f"{name}.safetensors" if folder is not None else None
