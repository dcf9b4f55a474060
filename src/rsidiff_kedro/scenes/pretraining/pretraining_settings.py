"""Define the settings of the embedded model's training; conf/scenes/parameters_base_model.yml has a value for each."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from rsidiff_kedro.core.locations import NoResult
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.scenes.pretraining.corpus import NoiseRates

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

    from rsidiff_kedro.scenes.pretraining.denoiser import Denoiser
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

    def schedule(self) -> "Schedule":
        """Return these values for the training loop."""
        from rsidiff_kedro.scenes.pretraining.fitting import Schedule

        return Schedule(**self.model_dump(include=set(ScheduleSettings.model_fields)))


class AutoencoderSettings(ScheduleSettings):
    """The autoencoder: channels per level and of the latents, and its schedule.

    Attributes:
        shipped: a shipped model whose autoencoder is used, and none is trained; None trains one.
    """

    shipped: str | None = None
    channels: tuple[int, ...] = Field(min_length=1)
    latent_channels: int = Field(ge=3)


class PhaseSettings(ScheduleSettings):
    """A phase of the denoiser's training, on the corpus with or without its noise."""

    clean: bool


class DenoiserSettings(Section, ABC):
    """Text encoders and denoising network, of the kind that `kind` names: sizes, and the phases of their training."""

    kind: Literal["unet", "mmdit"]
    text_width: int
    text_layers: int
    phases: tuple[PhaseSettings, ...] = Field(min_length=1)

    @classmethod
    def concrete(cls, value: Mapping[str, Any]) -> type[Section]:
        """Return the class that the value's `kind` names, or this one if there is no such kind."""
        kinds: dict[str, type[Section]] = {"unet": UNetSettings, "mmdit": MMDiTSettings}
        return kinds.get(str(value.get("kind")), cls)

    @abstractmethod
    def build(self, tokenizer: "CLIPTokenizer", latent_shape: tuple[int, int, int]) -> "Denoiser":
        """Build the untrained networks."""


class UNetSettings(DenoiserSettings):
    """One text encoder and a UNet with these channels, a level."""

    channels: tuple[int, ...] = Field(min_length=1)

    def build(self, tokenizer: "CLIPTokenizer", latent_shape: tuple[int, int, int]) -> "Denoiser":
        """Build the untrained networks."""
        from rsidiff_kedro.scenes.pretraining.unet import UNetDenoiser, UNetSizes

        return UNetDenoiser(UNetSizes(self.channels, self.text_width, self.text_layers), tokenizer, latent_shape)


class MMDiTSettings(DenoiserSettings):
    """Two text encoders and a transformer; `shift` makes its noise schedule noisier."""

    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    head_width: int = Field(ge=4, multiple_of=4)
    shift: float = Field(gt=0)

    def build(self, tokenizer: "CLIPTokenizer", latent_shape: tuple[int, int, int]) -> "Denoiser":
        """Build the untrained networks."""
        from rsidiff_kedro.scenes.pretraining.mmdit import MMDiTDenoiser, MMDiTSizes

        sizes = self.model_dump(include={field.name for field in fields(MMDiTSizes)})
        return MMDiTDenoiser(MMDiTSizes(**sizes), tokenizer, latent_shape)


def _parse(value: Any) -> Any:
    """Validate a section with the class that its `kind` names."""
    if not isinstance(value, Mapping):
        return value
    return DenoiserSettings.concrete(value).model_validate(value)


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
    denoiser: Annotated[SerializeAsAny[DenoiserSettings], BeforeValidator(_parse)]
    held_out: HeldOutSettings
    proxy: ProxySettings
