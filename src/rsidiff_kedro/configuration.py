"""The project's configuration: read as Kedro reads it, but what is wrong with a file is said in one line."""

import os
from glob import glob
from pathlib import Path
from typing import Any

import click
import yaml
from kedro.config import AbstractConfigLoader, MissingConfigException, OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsidiff_kedro.untrusted.text import printable

UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, OSError, RecursionError)
"""What YAML, omegaconf and Kedro raise of a broken file."""
OPTIONAL = frozenset({"credentials", "globals"})
"""What Kedro itself does without where no file has it."""


class RsiConfigLoader(OmegaConfigLoader):
    """Kedro's loader of conf/.

    Raises:
        click.UsageError: the environment is unknown, or a file is missing, broken or contradicts another; the command
            line shows the one line of its message and exits with 2.
    """

    def __init__(self, conf_source: str, env: str | None = None, **options: Any) -> None:
        _check_environment(Path(conf_source), env or str(options.get("default_run_env", "")))
        super().__init__(conf_source, env, **options)
        data = self["globals"].get("data")
        if not isinstance(data, str) or not data:
            raise click.UsageError(
                f"'data' in globals.yml is {data!r}; put `data: data`, the folder that all datasets lie in, into "
                "conf/base/globals.yml"
            )

    def __getitem__(self, key: str) -> dict[str, Any]:
        try:
            return super().__getitem__(key)
        except MissingConfigException as error:
            if key in OPTIONAL:
                raise
            raise click.UsageError(f"{_line(error)}; put the file back") from error
        except (*UNREADABLE, AttributeError) as error:  # AttributeError: Kedro took a list for a mapping
            place, reason = self._culprit(key) or (self.conf_source, _line(error))
            raise click.UsageError(f"the {key} in {place} cannot be read: {reason}; correct the file") from error

    def _culprit(self, key: str) -> tuple[Path, str] | None:
        """The first file that cannot be read by itself, and why; None if what is wrong is between files."""
        environments = (self.base_env, self.env or self.default_run_env)
        patterns = [Path(self.conf_source, env, name) for env in environments for name in self.config_patterns[key]]
        for path in map(Path, sorted({found for each in patterns for found in glob(str(each), recursive=True)})):
            try:
                if path.is_file() and not isinstance(OmegaConf.load(path), DictConfig):
                    return path, "it is a list where `name: value` is needed"
            except UNREADABLE as error:
                return path, _line(error)
        return None


def _check_environment(conf: Path, env: str) -> None:
    if not conf.is_dir() or (conf / env).is_dir():  # an archive, a remote folder: Kedro's own checks
        return
    there = ", ".join(sorted(path.name for path in conf.iterdir() if path.is_dir()))
    raise click.UsageError(f"there is no environment {env!r} in {conf}; there are {there}; name one of them")


def _line(error: Exception) -> str:
    return printable(str(error))


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
