"""Define the settings of the embedded model's training; conf/scenes/parameters_base_model.yml has a value for each."""

from typing import Annotated

from pydantic import Field

from rsidiff_kedro.core.locations import NoResult
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.scenes.pretraining.corpus import NoiseRates
from rsidiff_kedro.scenes.pretraining.fitting import Schedule


class CorpusSettings(Section):
    """The training corpus."""

    size: int = Field(ge=64)
    two_objects: float = Field(ge=0, le=1)
    noise: NoiseRates


class ScheduleSettings(Section):
    """Length and learning rate of a network's training."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    checkpoint_every: Annotated[int, NoResult()] = Field(ge=1)

    def schedule(self) -> Schedule:
        """Return these values for the training loop."""
        return Schedule(**self.model_dump(include=set(ScheduleSettings.model_fields)))


class AutoencoderSettings(ScheduleSettings):
    """The autoencoder: channels per level and of the latents, and its schedule."""

    channels: tuple[int, ...] = Field(min_length=1)
    latent_channels: int = Field(ge=3)


class PhaseSettings(ScheduleSettings):
    """A phase of the denoiser's training, on the corpus with or without its noise."""

    clean: bool


class DenoiserSettings(Section):
    """Text encoder and UNet: sizes, and the phases of their training."""

    channels: tuple[int, ...] = Field(min_length=1)
    text_width: int
    text_layers: int
    phases: tuple[PhaseSettings, ...] = Field(min_length=1)


class HeldOutSettings(Section):
    """The held-out prompts on which the base is judged."""

    one_object: int = Field(ge=1)
    two_objects: int = Field(ge=1)
    samples_per_prompt: int = Field(ge=1)


class AnnotationSettings(Section):
    """Images that the simulated annotators see, and rates of their errors."""

    one_object: int = Field(ge=1)
    two_objects: int = Field(ge=1)
    samples_per_prompt: int = Field(ge=2)
    pairs_per_prompt: int = Field(ge=1)
    error_rate: float = Field(ge=0, lt=0.5)


class ProxySettings(Section):
    """The preference model: sizes, the share of clean pairs that get a wrong caption, and two schedules."""

    width: int
    layers: int
    wrong_share: float = Field(ge=0, le=1)
    pairs: ScheduleSettings
    preferences: ScheduleSettings
    annotation: AnnotationSettings


class BaseModelSettings(Section):
    """The pipeline `base_model`, which trains the embedded default."""

    seed: int = Field(ge=0)
    corpus: CorpusSettings
    autoencoder: AutoencoderSettings
    denoiser: DenoiserSettings
    held_out: HeldOutSettings
    proxy: ProxySettings
