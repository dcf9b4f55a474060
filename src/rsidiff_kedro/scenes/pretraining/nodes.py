"""The steps of training the embedded default; what they train and measure with lies in `scenes` and `rewards.proxy`."""

import pandas as pd
from diffusers import AutoencoderKL, StableDiffusionPipeline

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.families.stable_diffusion import StableDiffusion
from rsidiff_kedro.diffusion.model import ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.execution.unfinished import unfinished_folder
from rsidiff_kedro.scenes.plugins.proxy import ProxyModel
from rsidiff_kedro.scenes.pretraining import annotators, cards, corpus, networks
from rsidiff_kedro.scenes.pretraining.pretraining_settings import BaseModelSettings
from rsidiff_kedro.scenes.world.grammar import Scene
from rsidiff_kedro.scenes.world.judge import judge_images


def draw_clean_corpus(settings: BaseModelSettings) -> pd.DataFrame:
    """Draw captioned pictures without noise."""
    given = settings.corpus
    return corpus.draw_corpus(given.size, given.two_objects, corpus.NoiseRates(0.0, 0.0, 0.0), settings.seed)


def draw_noisy_corpus(settings: BaseModelSettings) -> pd.DataFrame:
    """Draw the captioned pictures, noise included."""
    given = settings.corpus
    return corpus.draw_corpus(given.size, given.two_objects, given.noise.rates(), settings.seed)


def train_autoencoder(pairs: pd.DataFrame, settings: BaseModelSettings) -> tuple[AutoencoderKL, pd.DataFrame]:
    """Train the autoencoder on the corpus's pictures."""
    autoencoder, losses = networks.train_autoencoder(pairs, settings, unfinished_folder())
    return autoencoder, _log(losses)


def train_denoiser(
    clean_pairs: pd.DataFrame, pairs: pd.DataFrame, autoencoder: AutoencoderKL, settings: BaseModelSettings
) -> tuple[StableDiffusionPipeline, StableDiffusionPipeline, pd.DataFrame]:
    """Train text encoder and UNet on the corpora's latents and captions: the base, and what its first phase left."""
    base, first_phase, losses = networks.train_base(clean_pairs, pairs, autoencoder, settings, unfinished_folder())
    return base, first_phase, _log(losses)


def draw_held_out(base: StableDiffusionPipeline, settings: BaseModelSettings, sampler: SamplerSettings) -> ImageSet:
    """Draw prompts that the corpus does not have, with the default sampler."""
    held_out = settings.held_out
    scenes = networks.held_out_scenes(held_out.one_object, held_out.two_objects, settings.seed)
    return _draw(base, scenes, held_out.samples_per_prompt, sampler, settings.seed, "held_out")


def draw_annotated(base: StableDiffusionPipeline, settings: BaseModelSettings, sampler: SamplerSettings) -> ImageSet:
    """Draw several images for each prompt that the annotators see."""
    shown = settings.proxy.annotation
    scenes = annotators.annotated_scenes(shown.one_object, shown.two_objects, settings.seed)
    return _draw(base, scenes, shown.samples_per_prompt, sampler, settings.seed, "annotated")


def judge(images: ImageSet) -> pd.DataFrame:
    """The judge's verdict on each image."""
    texts = images.metadata["text"].tolist()
    return images.metadata[["image_id", "prompt_id", "text", "sample_index"]].join(judge_images(images.images, texts))


def annotate(verdicts: pd.DataFrame, settings: BaseModelSettings) -> pd.DataFrame:
    """The annotators' answers, some of them wrong."""
    shown = settings.proxy.annotation
    return annotators.annotate(verdicts, shown.pairs_per_prompt, shown.error_rate, settings.seed)


def train_proxy(
    pairs: pd.DataFrame, images: ImageSet, answers: pd.DataFrame, settings: BaseModelSettings
) -> ProxyModel:
    """Train the preference model on pairs of the corpus, then on the annotators' answers."""
    return networks.train_proxy(pairs, images, answers, settings, unfinished_folder())


def measure(
    base: StableDiffusionPipeline,
    log: pd.DataFrame,
    autoencoder: AutoencoderKL,
    images: ImageSet,
    verdicts: pd.DataFrame,
    first_phase_verdicts: pd.DataFrame,
    settings: BaseModelSettings,
    sampler: SamplerSettings,
) -> tuple[dict[str, float], str]:
    """The base's figures and its model card."""
    figures = cards.measure_base(autoencoder, images, verdicts, settings.seed)
    figures |= {f"first_phase/{name}": value for name, value in cards.accuracy(first_phase_verdicts).items()}
    return figures, cards.base_card(figures, log, settings, sampler, sum(p.numel() for p in base.unet.parameters()))


def measure_proxy(
    proxy: ProxyModel, images: ImageSet, verdicts: pd.DataFrame, settings: BaseModelSettings
) -> tuple[dict[str, float], str]:
    """The preference model's figures on held-out prompts, and its model card."""
    figures = cards.measure_proxy(proxy, images, verdicts, settings.seed)
    return figures, cards.proxy_card(figures, settings)


def _draw(
    base: StableDiffusionPipeline, scenes: list[Scene], samples: int, sampler: SamplerSettings, seed: int, purpose: str
) -> ImageSet:
    model = StableDiffusion(base, ModelSettings(base="base_model"))
    prompts = prompt_table([scene.caption for scene in scenes], source="grammar")
    title = f"base model: {purpose} prompts"
    return sample_images(model, None, prompts, samples, sampler, seed, purpose, title, unfinished_folder())


def _log(losses: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"step": [50 * (number + 1) for number in range(len(losses))], "loss": losses})
