"""The pipelines by name; Kedro builds them once the context has said how many rounds there are."""

import click
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from rsidiff_kedro.evaluation.settings import rounds_to_test
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.parameters import ParameterError, parse_parameters
from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.pipelines.stage import METHOD, compose

_rounds: tuple[int, int] | None = None


def set_rounds(rounds: int, test_every: int = 1) -> None:
    """Set the number of rounds, and which of them are tested; drop what Kedro cached for others."""
    global _rounds
    if (rounds, test_every) != _rounds:
        _rounds = rounds, test_every
        pipelines.configure(__name__)


def register_pipelines() -> dict[str, Pipeline]:
    """Return the whole method (`rsi`, the default) and each stage by itself."""
    rounds, test_every = _rounds if _rounds is not None else _configured_rounds()
    composed = compose(stages(), rounds, rounds_to_test(rounds, test_every))
    return {**composed, "__default__": composed[METHOD]}


def _configured_rounds() -> tuple[int, int]:
    """Return what `conf/` says, for commands that make no context (`kedro registry list`, `kedro viz build`)."""
    try:
        parameters = parse_parameters(open_configuration()[1]["parameters"])
        return parameters.rounds, parameters.evaluation.test_every
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
