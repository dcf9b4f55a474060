"""Define the commands `kedro rsi rewards` and `kedro rsi families`, which list what a run can name."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line, open_project

if TYPE_CHECKING:
    from rsidiff_kedro.core.registry import Registry
    from rsidiff_kedro.parameters import Parameters

WEIGHTS = ("checkpoint", "clip", "tokenizer")
"""Options of a reward that name files."""
WITHOUT_WEIGHTS = ("tokenizer", "scheduler")
"""Components of a pipeline that are no networks."""


@click.command()
@env_option
@params_option
@in_one_line
def rewards(env: str | None, params: dict[str, Any]) -> None:
    """List the rewards: which package registers each, what the parameters use it for, and what weights it needs.

    Your own need no registration: name package.module:Name.
    """
    parameters, _ = open_project(env, params)
    from rsidiff_kedro.rewards.registry import FEATURES, REWARDS

    uses = _uses(parameters)
    names = [*REWARDS.names, *(name for name in uses if name not in REWARDS)]
    rows = [
        (
            name,
            _package(REWARDS, name),
            "yes" if name in FEATURES else "",
            uses.get(name, ""),
            _weights(parameters, name),
        )
        for name in names
    ]
    _print(("reward", "package", "features", "used for", "weights"), rows)


@click.command()
@env_option
@params_option
@in_one_line
def families(env: str | None, params: dict[str, Any]) -> None:
    """List the model families: which package registers each, its pipeline, and the networks whose weights it needs.

    Your own need no registration: name package.module:Class.
    """
    parameters, _ = open_project(env, params)
    from rsidiff_kedro.diffusion.families import FAMILIES

    model = parameters.model
    names = [*FAMILIES.names, *([model.family] if model.family not in FAMILIES else [])]
    rows = [(name, _package(FAMILIES, name), *_networks(FAMILIES, name)) for name in names]
    _print(("family", "package", "pipeline", "weights"), rows)
    click.echo(f"model.base: {model.base}, {_place(model.base)}; of the family {model.family}")


def _package(registry: "Registry", name: str) -> str:
    return registry.package(name) if name in registry else "your own"


def _uses(parameters: "Parameters") -> dict[str, str]:
    """Return what the parameters use each reward for."""
    selection, early = parameters.preference_selection, parameters.synthesis.early_dropping
    used = {
        "selecting": selection.rewards if selection.enabled else [],
        "a floor": selection.floors if selection.enabled else [],
        "early dropping": [early.reward] if early else [],
        "reporting": [*parameters.evaluation.rewards, *([] if selection.enabled else selection.rewards)],
        "the probe": [parameters.prompt_curation.probe.reward] if parameters.prompt_curation.enabled else [],
        "weighting": [parameters.weighting.features],
    }
    names = dict.fromkeys(name for each in used.values() for name in each)
    return {name: ", ".join(use for use, each in used.items() if name in each) for name in names}


def _weights(parameters: "Parameters", name: str) -> str:
    options = parameters.rewards.options(name)
    found = [f"{options[option]} ({_place(str(options[option]))})" for option in WEIGHTS if options.get(option)]
    return "; ".join(found) or "none, or with its package"


def _place(source: str) -> str:
    """Say where a path, a shipped model or a hub id is."""
    from rsidiff_kedro.core.hub import is_cached
    from rsidiff_kedro.core.locations import is_path
    from rsidiff_kedro.diffusion.bases import shipped_folder

    if shipped_folder(source) is not None:
        return "with its package"
    if is_path(source):
        return "on disk" if Path(source).exists() else "missing"
    return "in the hub's cache" if is_cached(source) else "not downloaded"


def _networks(registry: "Registry", name: str) -> tuple[str, str]:
    """Return a family's pipeline and its networks, or why it cannot be imported."""
    from rsidiff_kedro.core.registry import PluginError

    try:
        family = registry.load(name)
    except PluginError as error:
        return "", str(error)
    return family.pipeline_class.__name__, ", ".join(
        sorted(each for each in family.components if not each.startswith(WITHOUT_WEIGHTS))
    )


def _print(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
