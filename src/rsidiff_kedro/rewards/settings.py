"""Define the settings of preference models, without the libraries that compute."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from rsidiff_kedro.core.devices import usable_devices
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import Location, NoResult, OwnSettings, expand
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.votes import newest_votes
from rsidiff_kedro.rewards.sources import Checkpoint, CheckpointWithTokenizer, Clip, Tokenizer

if TYPE_CHECKING:
    import torch

VIT_H_14 = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
VIT_L_14 = "openai/clip-vit-large-patch14"
HPSV2 = "xswu/HPSv2"
PICK_SCORE = "yuvalkirstain/PickScore_v1"
AESTHETIC_HEAD = "trl-lib/ddpo-aesthetic-predictor"
IMAGE_REWARD = "THUDM/ImageReward"
BERT = "google-bert/bert-base-uncased"


class DeviceError(InputError):
    """A device for preference models that torch does not have."""


class Computing(Section):
    """Device, precision and batch size of preference models.

    Attributes:
        device: "auto" takes a GPU if there is one.
        dtype: of the network; scores are float32 in any case.
        micro_batch_size: images or prompts computed at once. Scores of two sizes may differ in the last digits, so
            their record includes it.
    """

    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], NoResult()] = "auto"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    micro_batch_size: int = Field(default=8, ge=1, le=1024)

    @property
    def place(self) -> "torch.device":
        """Return the device; "auto" is the fastest one.

        Raises:
            DeviceError: torch has no such device here.
        """
        import torch  # slow to import, and most commands read settings alone

        usable = usable_devices()
        if self.device not in ("auto", *usable):
            raise DeviceError(
                f"rewards.device is {self.device!r}, but torch has {', '.join(usable)} here; set one or auto"
            )
        return torch.device(usable[0] if self.device == "auto" else self.device)


class Hpsv2Settings(Section):
    """HPSv2.1 and HPSv2.0, each with its own file from one source.

    Attributes:
        checkpoint: a folder with the official files, a file, or a Hugging Face id.
        revision: of a Hugging Face id: branch, tag or commit.
        tokenizer: of CLIP: a folder or a Hugging Face id.
        antialias: how images are downscaled; scores with and without differ by up to 0.025.
        implementation: native, or the official package in an environment of its own (`make official-rewards`).
    """

    checkpoint: Checkpoint = Field(default=HPSV2, min_length=1)
    revision: str | None = None
    tokenizer: Tokenizer = Field(default=VIT_H_14, min_length=1)
    antialias: bool = False
    implementation: Literal["native", "official"] = "native"


class PickScoreSettings(Section):
    """PickScore, in transformers' format."""

    checkpoint: Checkpoint = Field(default=PICK_SCORE, min_length=1)
    revision: str | None = None
    tokenizer: Tokenizer = Field(default=VIT_H_14, min_length=1)


class ClipScoreSettings(Section):
    """CLIPScore, in transformers' format; the default tokenizer is the checkpoint's own."""

    checkpoint: CheckpointWithTokenizer = Field(default=VIT_L_14, min_length=1)
    revision: str | None = None
    tokenizer: Tokenizer | None = None


class AestheticSettings(Section):
    """LAION's aesthetic predictor: a head, and the CLIP model that it was trained on."""

    checkpoint: Checkpoint = Field(default=AESTHETIC_HEAD, min_length=1)
    revision: str | None = None
    clip: Clip = Field(default=VIT_L_14, min_length=1)


class ImageRewardSettings(Section):
    """ImageReward; fields as in `Hpsv2Settings`, with BERT's tokenizer."""

    checkpoint: Checkpoint = Field(default=IMAGE_REWARD, min_length=1)
    revision: str | None = None
    tokenizer: Tokenizer = Field(default=BERT, min_length=1)
    implementation: Literal["native", "official"] = "native"


class VotesSettings(Section):
    """A head on the features of another reward, fitted on the votes of `kedro rsi label`.

    Attributes:
        votes: the dataset's folder, whose newest version counts, or the folder of one version.
        features: what the head reads; of a reward, its score too.
        penalty: factor of the head's weights in the loss, see `bradley_terry`; None: by cross-validation.
        min_votes: fewer decided votes are refused.
    """

    votes: Annotated[Path, Location(only_if_named=True)] = Path("data/votes")
    features: str = Field(default="clip_score", min_length=1)
    penalty: float | None = Field(default=None, gt=0)
    min_votes: int = Field(default=20, ge=1)

    @field_validator("features")
    @classmethod
    def _of_another_reward(cls, name: str) -> str:
        if name == "votes":
            raise ValueError("name the features of another reward; this one has none")
        return name

    def within(self, root: Path) -> "VotesSettings":
        """Make the path absolute, and name the newest version, so that votes given later do not change a run."""
        return self.model_copy(update={"votes": newest_votes(expand(self.votes, root))})


class RewardsSettings(Computing):
    """Checkpoints of preference models and how they compute; a run opens only those that it names.

    Attributes:
        official_python: of the environment that `make official-rewards` builds, for `implementation: official`.
        custom: keyword arguments of your own rewards and features, by name.
    """

    official_python: Annotated[Path, NoResult()] = Path("data/parity/official/bin/python")
    hpsv2: Hpsv2Settings = Hpsv2Settings()
    image_reward: ImageRewardSettings = ImageRewardSettings()
    pick_score: PickScoreSettings = PickScoreSettings()
    clip_score: ClipScoreSettings = ClipScoreSettings()
    aesthetic: AestheticSettings = AestheticSettings()
    votes: VotesSettings = VotesSettings()
    custom: Annotated[dict[str, dict[str, Any]], OwnSettings()] = Field(default={})

    def options(self, name: str) -> dict[str, Any]:
        """Return the keyword arguments of a reward or embedding; none for those of the scenes."""
        if name in self.custom:
            return self.custom[name]
        section = getattr(self, "hpsv2" if name.startswith("hpsv2_") else name, None)
        if not isinstance(section, Section):
            return {}
        if isinstance(section, VotesSettings):
            return section.model_dump() | {"feature_options": self.options(section.features)}
        options = section.model_dump() | self.model_dump(include=set(Computing.model_fields))
        official = options.pop("implementation", "native") == "official"
        return options | ({"official_python": self.official_python} if official else {})
