"""Settings of the reward that is fitted on votes."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from rsidiff_kedro.core.locations import Location, expand
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.votes import newest_votes


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
