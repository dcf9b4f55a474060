"""Define the base class of all settings."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import PydanticCustomError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Section(BaseModel):
    """A section of `conf/*/parameters*.yml`: refuses unknown names, cannot change, and holds no NaN or infinity.

    A truth value is no number: YAML reads `off` as false, and "no limit" would be a limit of 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="wrap")
    @classmethod
    def _no_truth_as_number(cls, value: Any, validate: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        found = validate(value)
        if _counted(value, found):
            optional = type(None) in get_args(cls.model_fields[info.field_name or ""].annotation)
            raise PydanticCustomError("number_type", f"it should be a number{', or null for none' * optional}")
        return found

    @classmethod
    def concrete(cls, value: Mapping[str, Any]) -> "type[Section]":
        """Return the class that validates this value; a base class of plug-ins returns the one that it names."""
        return cls


def _counted(given: Any, found: Any) -> bool:
    """Tell whether a truth value became a number, in a list or mapping too."""
    if isinstance(given, bool):
        return isinstance(found, int | float) and not isinstance(found, bool)
    if isinstance(given, Mapping) and isinstance(found, Mapping):
        return any(_counted(given[key], found[key]) for key in given.keys() & found.keys())
    if isinstance(given, list | tuple) and isinstance(found, list | tuple):
        return any(map(_counted, given, found))
    return False
