"""The project's configuration for commands that make no Kedro context."""

import os
from pathlib import Path
from typing import Any

from kedro.config import AbstractConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project


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
