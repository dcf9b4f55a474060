"""Define the command `kedro rsi compare`."""

from typing import TYPE_CHECKING

import click

from rsidiff_kedro.cli.arguments import env_option
from rsidiff_kedro.cli.project import in_one_line, open_project
from rsidiff_kedro.cli.sample import round_option

if TYPE_CHECKING:
    from rsidiff_kedro.datasets.runs import Run
    from rsidiff_kedro.reporting.run_comparison import Side


@click.command()
@click.argument("old", metavar="RUN")
@click.argument("new", metavar="RUN")
@round_option
@env_option
@in_one_line
def compare(old: str, new: str, name: str, env: str | None) -> None:
    """Show which parameters of two RUNs differ, and what the second changes on the test prompts that both have.

    A RUN is a version from `kedro rsi runs`, or its first digits as far as they are unique.
    """
    parameters, runs = open_project(env, {})
    from rsidiff_kedro.reporting.run_comparison import comparison_text

    first, second = (side_of(runs.find(each), name) for each in (old, new))
    click.echo(comparison_text(first, second, parameters.evaluation.bootstrap_resamples, parameters.seed), nl=False)


def side_of(run: "Run", name: str) -> "Side":
    """Return a round of a run as `comparison_text` compares it; `name` as in `Run.round_number`."""
    from rsidiff_kedro.parameters import schema
    from rsidiff_kedro.reporting.run_comparison import Side

    number, known = run.round_number(name), schema().model_fields
    best = " (best: the last that no gate rejected)" if name == "best" else ""
    scores = f"rsi.round_{run.tested_round(number)}.test_scores"
    makers = run.leading_to(scores)
    read = {path: value for path, value in run.parameters().items() if path.split(".")[0] in known}
    return Side(
        name=f"run {run.version}, round {number} of {run.rounds}{best}",
        parameters={"rounds": run.rounds, **read},
        scores=run.load(scores),
        selecting=run.selecting(),
        code=makers[0].plugins if makers else {},
    )
