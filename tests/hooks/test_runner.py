"""Only this project's runner runs; any other is refused before anything else happens."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from kedro.runner import AbstractRunner, ParallelRunner, SequentialRunner, ThreadRunner

from rsidiff_kedro.cli import run as run_command
from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.hooks.session import RsiSession


class OtherRunner(SequentialRunner):
    """A runner that knows nothing of reuse."""


def run(project: Path, runner: AbstractRunner | None) -> None:
    with RsiSession.create(project, env="test") as session:
        session.run(pipeline_names=["prompt_curation"], node_names=["prompt_curation.collect_prompts"], runner=runner)


@pytest.mark.parametrize("runner", [ParallelRunner, ThreadRunner, OtherRunner])
def test_another_runner_is_refused_in_one_line(project: Path, runner: type[AbstractRunner]) -> None:
    with pytest.raises(click.ClickException) as refused:
        run(project, runner())
    message = refused.value.message
    assert message.startswith(f"{runner.__name__} is not supported") and message.endswith("leave --runner out")
    assert "\n" not in message
    assert not (project / "data").exists()


def test_another_runner_is_refused_on_the_command_line(project: Path) -> None:
    result = CliRunner().invoke(run_command, ["--env=test", "--runner=ThreadRunner"])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ThreadRunner is not supported")


@pytest.mark.parametrize("runner", [None, SequentialRunner, RsiRunner])
def test_kedros_sequential_runner_stands_for_this_projects(project: Path, runner: type[AbstractRunner] | None) -> None:
    for _ in range(2):
        run(project, runner and runner())
    assert len(list((project / "data/test/01_raw/collected_prompts.parquet").iterdir())) == 2
    with RsiSession.create(project, env="test") as session:
        session.run(
            pipeline_names=["prompt_curation"],
            node_names=["prompt_curation.collect_prompts"],
            runner=runner and runner(),
            only_missing_outputs=True,
        )
    assert len(list((project / "data/test/01_raw/collected_prompts.parquet").iterdir())) == 2
