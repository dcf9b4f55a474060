"""The pipelines by name. The number of rounds is set by the context; Kedro builds the registry once it is known."""

import click
from kedro.framework.project import pipelines
from kedro.pipeline import Pipeline

from rsidiff_kedro.configuration import open_configuration
from rsidiff_kedro.parameters import ParameterError, parse_parameters
from rsidiff_kedro.pipelines import base_model, report, sft
from rsidiff_kedro.pipelines.rsi import create_stages

_rounds: int | None = None


def set_rounds(rounds: int) -> None:
    """Have the registry hold so many rounds; drops what Kedro cached if it held another number."""
    global _rounds
    if rounds != _rounds:
        _rounds = rounds
        pipelines.configure(__name__)


def register_pipelines() -> dict[str, Pipeline]:
    """All pipelines: `rsi` (the default), each stage of every round, the report, and what stands beside them."""
    rounds = _rounds if _rounds is not None else _configured_rounds()
    stages = create_stages(rounds)
    reports = report.create_pipeline(rounds)
    rsi = Pipeline([*stages.values(), reports])
    return {
        "rsi": rsi,
        "__default__": rsi,
        **stages,
        "report": reports,
        "sft": sft.create_pipeline(),
        "base_model": base_model.create_pipeline(),
    }


def _configured_rounds() -> int:
    """The number in `conf/`, for commands that make no context (`kedro registry list`, `kedro viz build`)."""
    try:
        return parse_parameters(open_configuration()[1]["parameters"]).rounds
    except ParameterError as error:
        raise click.UsageError(str(error)) from error
