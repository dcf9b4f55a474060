"""What a user can set of the embedded model's training; every field stands in `conf/base/parameters_base_model.yml`."""

from pydantic import Field

from rsidiff_kedro.core.section import Section
from rsidiff_kedro.scenes.pretraining.corpus import NoiseRates
from rsidiff_kedro.scenes.pretraining.fitting import Schedule


class NoiseSettings(Section):
    """Rates of the corpus's noise."""

    caption: float = Field(ge=0, le=1)
    stray: float = Field(ge=0, le=1)
    malformed: float = Field(ge=0, le=1)

    def rates(self) -> NoiseRates:
        """The same as the corpus reads it."""
        return NoiseRates(self.caption, self.stray, self.malformed)


class CorpusSettings(Section):
    """The training corpus."""

    size: int = Field(ge=64)
    two_objects: float = Field(ge=0, le=1)
    noise: NoiseSettings


class ScheduleSettings(Section):
    """How long and how fast a network is trained."""

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    ema_decay: float = Field(ge=0, lt=1)
    checkpoint_every: int = Field(ge=1)

    def schedule(self) -> Schedule:
        """The same as the training loop reads it."""
        return Schedule(
            self.steps,
            self.batch_size,
            self.learning_rate,
            ema_decay=self.ema_decay,
            checkpoint_every=self.checkpoint_every,
        )


class AutoencoderSettings(ScheduleSettings):
    """The autoencoder: channels a level and of the latents, and its schedule."""

    channels: tuple[int, ...] = Field(min_length=1)
    latent_channels: int = Field(ge=3)


class PhaseSettings(ScheduleSettings):
    """A part of the denoiser's training, on the corpus without its noise or with it."""

    clean: bool


class DenoiserSettings(Section):
    """Text encoder and UNet: sizes, and the phases of their training."""

    channels: tuple[int, ...] = Field(min_length=1)
    text_width: int
    text_layers: int
    phases: tuple[PhaseSettings, ...] = Field(min_length=1)


class HeldOutSettings(Section):
    """The held-out prompts that the base is judged on."""

    one_object: int = Field(ge=1)
    two_objects: int = Field(ge=1)
    samples_per_prompt: int = Field(ge=1)


class AnnotationSettings(Section):
    """What the simulated annotators are shown, and how often they err."""

    one_object: int = Field(ge=1)
    two_objects: int = Field(ge=1)
    samples_per_prompt: int = Field(ge=2)
    pairs_per_prompt: int = Field(ge=1)
    error_rate: float = Field(ge=0, lt=0.5)


class ProxySettings(Section):
    """The preference model: sizes, the share of clean pairs that are contradicted, and two schedules."""

    width: int
    layers: int
    wrong_share: float = Field(ge=0, le=1)
    pairs: ScheduleSettings
    preferences: ScheduleSettings
    annotation: AnnotationSettings


class BaseModelSettings(Section):
    """The pipeline `base_model`: all that it trains the embedded default with."""

    seed: int = Field(ge=0)
    corpus: CorpusSettings
    autoencoder: AutoencoderSettings
    denoiser: DenoiserSettings
    held_out: HeldOutSettings
    proxy: ProxySettings
