"""Define the base class of all settings."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Section(BaseModel):
    """A section of `conf/*/parameters*.yml`: refuses unknown names, cannot change, and holds no NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def concrete(cls, value: Mapping[str, Any]) -> "type[Section]":
        """Return the class that validates this value; a base class of plug-ins returns the one that it names."""
        return cls
