"""The project's configuration for commands that make no Kedro context."""

import os
from pathlib import Path
from typing import Any

import yaml
from kedro.config import AbstractConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project
from omegaconf.errors import OmegaConfBaseException

from rsidiff_kedro.parameters import ParameterError


def open_configuration(
    env: str | None = None, params: dict[str, Any] | None = None
) -> tuple[Path, AbstractConfigLoader]:
    """The root of the project in the working directory, and its configuration as `kedro run` would read it."""
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(root / settings.CONF_SOURCE),
        env=env or os.environ.get("KEDRO_ENV"),
        runtime_params=params or {},
        **settings.CONFIG_LOADER_ARGS,
    )
    return root, loader


def read_parameters(loader: AbstractConfigLoader) -> Any:
    """The parameters of a configuration, not yet validated.

    Raises:
        ParameterError: a file of them is no YAML, or holds what no parameter can be.
    """
    try:
        return loader["parameters"]
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, AttributeError, RecursionError) as error:
        raise ParameterError(f"the parameters in conf cannot be read: {error}") from error
