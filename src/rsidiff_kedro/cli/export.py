"""Define the command `kedro rsi export`, which writes an adapter for others to use."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import PACKAGE, in_one_line, open_project
from rsidiff_kedro.cli.sample import round_option
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import check_writable, partial_path

if TYPE_CHECKING:
    from rsidiff_kedro.core.adapter import Adapter
    from rsidiff_kedro.datasets.runs import Run
    from rsidiff_kedro.parameters import Parameters
    from rsidiff_kedro.reporting.model_card import CardFacts, Example

EXAMPLES = 4
"""Prompts with images in a card."""
PARTIAL = ".adapter.partial"
"""A folder in which an adapter is made, in an empty one where it is to lie."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@round_option
@click.option(
    "--format",
    "form",
    default="diffusers",
    show_default=True,
    type=click.Choice(["diffusers", "kohya"]),
    help="diffusers, or kohya for ComfyUI, AUTOMATIC1111 and kohya's sd-scripts.",
)
@click.option("--push", metavar="OWNER/NAME", help="Upload it to the Hugging Face hub; a new repository is private.")
@env_option
@params_option
@in_one_line
def export(folder: Path, name: str, form: str, push: str | None, env: str | None, params: dict[str, Any]) -> None:
    """Write the newest run's adapter with a model card into DIR, a new or empty folder."""
    from rsidiff_kedro.core.hub import check_repository, push_folder

    if push is not None:
        check_repository(push)
    _check_empty(folder)
    check_writable(_resolved(folder))
    parameters, runs = open_project(env, params)
    run = runs.newest(name)
    number = run.round_number(name)
    with _new_folder(folder) as unfinished:
        title = push.partition("/")[2] if push is not None else folder.resolve().name
        _write(unfinished, run, number, name, parameters, form, title)
    click.echo(f"Run {run.version}, round {number}{_how(name)}: {folder}")
    if push is not None:
        click.echo(f"Uploaded: {push_folder(folder, push)}")


def _how(name: str) -> str:
    return " (best: the last that no gate rejected)" if name == "best" else ""


def _check_empty(folder: Path) -> None:
    """Raise InputError if there is something else than an empty folder, apart from what a killed command left in it."""
    if folder.exists() and not (folder.is_dir() and {path.name for path in folder.iterdir()} <= {PARTIAL}):
        raise InputError(f"{folder} exists and is no empty folder; name a new one")


def _resolved(folder: Path) -> Path:
    """Return a folder's place behind links; raise InputError if there is none."""
    try:
        return folder.resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"{folder} is no place for a folder ({error}); give another") from error


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Write into a folder beside the wanted one, which becomes it at the end.

    If the wanted one is there, empty, write into a folder inside, and move what was made up at the end: it may be all
    that can be written, or a mounted volume, which cannot be replaced.
    """
    folder = _resolved(folder)
    is_there = folder.is_dir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder / PARTIAL if is_there else partial_path(folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        _check_empty(folder)  # still
        if is_there:
            for path in sorted(unfinished.iterdir()):
                path.rename(folder / path.name)
        else:
            unfinished.replace(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, run: "Run", number: int, name: str, parameters: "Parameters", form: str, title: str) -> None:
    """Write the weights, the images and the card."""
    from rsidiff_kedro.core.adapter import WEIGHTS_NAME
    from rsidiff_kedro.core.tensor_files import write_safetensors
    from rsidiff_kedro.datasets.adapter_folder import save_weights
    from rsidiff_kedro.diffusion.bases import check_base
    from rsidiff_kedro.diffusion.kohya import kohya_weights
    from rsidiff_kedro.diffusion.opening import family_of
    from rsidiff_kedro.reporting.model_card import model_card

    adapter = run.adapter(number)
    check_base(adapter, parameters.model.base, parameters.model.revision, f"rsi.round_{number}.adapter")
    file = f"{title}.safetensors" if form == "kohya" else WEIGHTS_NAME
    if form == "kohya":
        weights = kohya_weights(adapter, family_of(parameters.model).denoiser_class)
        weights = {key: value.contiguous() for key, value in sorted(weights.items())}
        write_safetensors(weights, folder / file, {"format": "pt"})
    else:
        save_weights(adapter, folder / file)
    examples = _images(run, run.tested_round(number), folder)
    facts = _facts(run, number, name, adapter, parameters, title, examples, partial(_usage, form, file))
    evaluation = parameters.evaluation
    model_card(facts, evaluation.bootstrap_resamples, parameters.seed).save(folder / "README.md")


def _facts(
    run: "Run",
    number: int,
    name: str,
    adapter: "Adapter",
    parameters: "Parameters",
    title: str,
    examples: "list[Example]",
    usage: Callable[[str, str | None], str],
) -> "CardFacts":
    from rsidiff_kedro.core.locations import is_path
    from rsidiff_kedro.diffusion.bases import BASES, shipped_folder
    from rsidiff_kedro.reporting.model_card import CardFacts

    base, tested = parameters.model.base, run.tested_round(number)
    shipped = shipped_folder(base) is not None
    shown = base if shipped or not is_path(base) else Path(base).name
    records = run.leading_to(f"rsi.round_{number}.adapter")
    if not records:
        raise InputError(
            f"no record says what made rsi.round_{number}.adapter of the run {run.version}; let kedro run "
            "--only-missing-outputs make it again"
        )
    return CardFacts(
        name=title,
        base=shown,
        on_hub=not shipped and not is_path(base),
        licence="mit" if shipped and BASES.package(base) == PACKAGE else None,
        number=number,
        how="the last that no gate rejected" if name == "best" else "chosen by hand",
        info=adapter.info,
        digest=adapter.digest,
        metrics=run.metrics(),
        base_scores=run.load("rsi.round_0.test_scores"),
        scores=run.load(f"rsi.round_{tested}.test_scores"),
        tested=tested,
        selecting=run.selecting(),
        parameters=run.parameters(),
        run=run.version,
        records=records,
        usage=usage(shown, adapter.info.get("revision")),
        examples=examples,
    )


def _images(run: "Run", tested: int, folder: Path) -> "list[Example]":
    """Save the first image of the first test prompts, of the base and of the round."""
    from rsidiff_kedro.reporting.contact_sheet import resized, scale_for
    from rsidiff_kedro.reporting.model_card import Example

    before, after = (run.load(f"rsi.round_{each}.test_images") for each in (0, tested))
    rows = after.metadata.reset_index(drop=True)
    partners = {image: row for row, image in enumerate(before.metadata["image_id"])}
    (folder / "images").mkdir()
    examples: list[Example] = []
    for row in rows.index[rows["sample_index"] == 0][:EXAMPLES]:
        paths = [f"images/{len(examples)}_{side}.png" for side in ("base", "adapter")]
        pair = before.images[partners[rows["image_id"][row]]], after.images[row]
        for path, image in zip(paths, pair):
            resized(image, max(1.0, scale_for([image]))).save(folder / path)
        examples.append(Example(str(rows["text"][row]), *paths))
    return examples


def _usage(form: str, file: str, base: str, revision: str | None) -> str:
    if form == "kohya":
        return (
            f"`{file}` has the names of kohya's sd-scripts. Put it into `models/loras` of ComfyUI or `models/Lora` of "
            "AUTOMATIC1111's web UI, and load it with strength 1."
        )
    pinned = f", revision={revision!r}" if revision is not None else ""
    return (
        "```python\nfrom diffusers import DiffusionPipeline\n\n"
        f"pipeline = DiffusionPipeline.from_pretrained({base!r}{pinned})\n"
        'pipeline.load_lora_weights("this folder or repository")\nimage = pipeline("a prompt").images[0]\n```'
    )
