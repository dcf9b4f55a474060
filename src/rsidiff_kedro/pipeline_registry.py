"""The pipelines by name; Kedro builds them once the context has said how many rounds there are."""

import click
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.parameters import ParameterError, parse_parameters
from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.pipelines.stage import METHOD, compose

_rounds: int | None = None


def set_rounds(rounds: int) -> None:
    """Set the number of rounds; drop what Kedro cached for another number."""
    global _rounds
    if rounds != _rounds:
        _rounds = rounds
        pipelines.configure(__name__)


def register_pipelines() -> dict[str, Pipeline]:
    """Return the whole method (`rsi`, the default) and each stage by itself."""
    composed = compose(stages(), _rounds if _rounds is not None else _configured_rounds())
    return {**composed, "__default__": composed[METHOD]}


def _configured_rounds() -> int:
    """Return the number in `conf/`, for commands that make no context (`kedro registry list`, `kedro viz build`)."""
    try:
        return parse_parameters(open_configuration()[1]["parameters"]).rounds
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
