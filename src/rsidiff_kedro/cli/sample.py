"""Define the command `kedro rsi sample`, which generates images with the adapters of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line, open_project
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import check_can_make, replacing

if TYPE_CHECKING:
    from PIL.Image import Image

    from rsidiff_kedro.core.adapter import Adapter
    from rsidiff_kedro.core.image_set import ImageSet
    from rsidiff_kedro.datasets.runs import Run
    from rsidiff_kedro.diffusion.settings import ModelSettings

round_option = click.option(
    "--round",
    "name",
    default="best",
    show_default=True,
    help="best (the last that no gate rejected), base, or a number.",
)


@click.command()
@click.argument("prompts", nargs=-1, required=True)
@round_option
@click.option("--compare", help="A second round: base, best, or a number. Each prompt then has a row per round.")
@click.option("--seeds", default=4, show_default=True, type=click.IntRange(1, 100), help="Images per prompt and round.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PNG file, replaced if it exists; by default the first free one of sample.png, sample-2.png, …",
)
@env_option
@params_option
@in_one_line
def sample(
    prompts: tuple[str, ...],
    name: str,
    compare: str | None,
    seeds: int,
    out: Path | None,
    env: str | None,
    params: dict[str, Any],
) -> None:
    """Generate images of PROMPTS with the newest run's adapter.

    The columns are seeds; rows and columns of a prompt share their noise, so rounds can be compared image by image.
    """
    path = out or _free_name(Path("sample.png"))
    if path.suffix.lower() != ".png":
        raise InputError(f"--out is {path}, whose name does not end in .png; name a PNG file")
    check_can_make(path)
    parameters, runs = open_project(env, params)
    from rsidiff_kedro.diffusion.side_by_side import sample_side_by_side
    from rsidiff_kedro.pipelines.requirements import check_prompts

    names = [compare, name] if compare is not None else [name]
    run = runs.newest(*names)
    check_prompts(parameters, list(prompts), str(run.load("test_prompts")["text"].iloc[0]))
    adapters = {title: _adapter(run, number, parameters.model) for title, number in _titles(run, names).items()}
    chosen = " (best: the last round that no gate rejected)" if "best" in names else ""
    click.echo(f"Run {run.version}: {', '.join(adapters)}{chosen}")
    images = sample_side_by_side(adapters, prompts, seeds, parameters.model, parameters.sampler, parameters.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        _sheet(prompts, images, seeds).save(partial, format="PNG")
    click.echo(f"{len(prompts) * len(images) * seeds} images: {path}")


def _titles(run: "Run", names: list[str]) -> dict[str, int]:
    """Return the rounds by the titles under which they are shown."""
    found = {}
    for name in names:
        number = run.round_number(name)
        found[f"round {number}" if number else "base"] = number
    return found


def _adapter(run: "Run", number: int, model: "ModelSettings") -> "Adapter | None":
    from rsidiff_kedro.diffusion.bases import check_base

    if not number:
        return None
    adapter = run.adapter(number)
    check_base(adapter, model.base, model.revision, f"rsi.round_{number}.adapter")
    return adapter


def _sheet(prompts: tuple[str, ...], images: "dict[str, ImageSet]", seeds: int) -> "Image":
    """Arrange a row per prompt and round; a single image stays as it is."""
    from rsidiff_kedro.reporting.grid import labelled_grid

    rows = [
        (f"{title}\n{prompt}", [made.images[number * seeds + seed] for seed in range(seeds)])
        for number, prompt in enumerate(prompts)
        for title, made in images.items()
    ]
    return rows[0][1][0] if len(rows) == 1 and seeds == 1 else labelled_grid(rows)


def _free_name(path: Path) -> Path:
    """Return the path, with a number if there is such a file."""
    number, free = 2, path
    while free.exists():
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return free
