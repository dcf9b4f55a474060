"""Define the command `kedro rsi plan`."""

from typing import Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line
from rsidiff_kedro.hooks.configuration import open_configuration


@click.command()
@env_option
@params_option
@in_one_line
def plan(env: str | None, params: dict[str, Any]) -> None:
    """Say what a run would need: device, images, steps, disk, memory, and time from a short probe."""
    from rsidiff_kedro.diffusion.footprint import fetch_configs
    from rsidiff_kedro.diffusion.timing import measure_speed
    from rsidiff_kedro.parameters import parse_parameters
    from rsidiff_kedro.pipelines.plan import plan_lines
    from rsidiff_kedro.pipelines.requirements import model_requirement

    root, loader = open_configuration(env, params)
    parameters = parse_parameters(loader["parameters"]).within(root)
    model_requirement(parameters).check()
    speed = measure_speed(parameters.model, parameters.sampler, parameters.finetune)
    folder = fetch_configs(parameters.model)
    for line in plan_lines(parameters, folder, root / loader["globals"]["data"], speed):
        click.echo(line)
