"""Define the command `kedro rsi score`, which scores one image with preference models."""

from pathlib import Path
from typing import Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line, open_project, rewards_to_show


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("prompt")
@click.option(
    "--reward", "names", multiple=True, help="A reward's name; may be given again. By default those of a run."
)
@env_option
@params_option
@in_one_line
def score(image: Path, prompt: str, names: tuple[str, ...], env: str | None, params: dict[str, Any]) -> None:
    """Score how well an IMAGE fits a PROMPT; higher is better. `kedro rsi rewards` lists the rewards."""
    parameters, _ = open_project(env, params)
    import pandas as pd

    from rsidiff_kedro.core.errors import InputError
    from rsidiff_kedro.core.untrusted.images import read_image
    from rsidiff_kedro.pipelines.requirements import check_readable
    from rsidiff_kedro.reporting.labels import role
    from rsidiff_kedro.rewards.scoring import with_scores

    chosen = rewards_to_show(parameters, names)
    pixels = read_image(image)
    check_readable(parameters, chosen, [prompt])
    table = pd.DataFrame({"image_id": [image.name], "prompt_id": [prompt], "text": [prompt]})
    try:
        scores = with_scores(table, [pixels], chosen, parameters.rewards)
    except ValueError as error:  # such as of a reward that reads images of one size only
        raise InputError(f"{image} cannot be scored: {error}") from error
    width, selecting = max(map(len, chosen)), parameters.selecting
    for name in chosen:
        click.echo(f"{name:{width}}  {scores[name].iloc[0]:.4f}  ({role(name, selecting)} in a run)")
