"""The Kedro context of this project: validate all parameters and register as many rounds as they ask for."""

from functools import partial

import click
from attrs import define
from kedro.framework.context import KedroContext

from rsidiff_kedro.core.untrusted.text import printable


@define(slots=False)
class RsiContext(KedroContext):
    """Kedro's context; it is made by `kedro run`, `kedro viz run`, `python -m rsidiff_kedro` and notebooks.

    Raises:
        click.UsageError: a parameter is wrong; the command line shows its one line and exits with 2.
    """

    def __attrs_post_init__(self) -> None:
        # Imported here, because Kedro imports the context for every command, also for those that compute nothing.
        from rsidiff_kedro import pipeline_registry
        from rsidiff_kedro.datasets.runs import open_runs
        from rsidiff_kedro.parameters import parse_parameters
        from rsidiff_kedro.pipelines.previews import show_runs

        if {"{", "}"} & set(str(self.project_path)):
            raise click.UsageError(
                f"the project's folder {self.project_path} holds a brace, which Kedro's catalog takes for a pattern; "
                "rename the folder"
            )
        try:
            parameters = parse_parameters(self.config_loader["parameters"]).within(self.project_path)
        except ValueError as error:
            raise click.UsageError(printable(str(error))) from error
        # Nodes get the validated values, with defaults filled in. Leave out sections that the environment does not
        # have, because Kedro refuses None for them, whichever pipeline runs.
        self.config_loader["parameters"] = {
            name: value for name, value in parameters.model_dump().items() if value is not None
        }
        pipeline_registry.set_rounds(parameters.rounds, parameters.evaluation.test_every)
        show_runs(partial(open_runs, self.project_path, self.config_loader))
