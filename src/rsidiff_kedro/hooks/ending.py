"""Say at the end of a run where to look."""

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from rsidiff_kedro.datasets.runs import REPORT

logger = logging.getLogger(__name__)


class EndingHooks:
    """Name the report's file, and how to open MLflow and Kedro-Viz, if the run made a report."""

    def __init__(self) -> None:
        self._options: list[str] = []

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Keep the option that names another folder of configuration than the project's."""
        used = Path(context.config_loader.conf_source).resolve()
        is_own = used == (context.project_path / settings.CONF_SOURCE).resolve()
        self._options = [] if is_own else [f"--conf-source={used}"]

    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log two lines."""
        report = catalog.get(REPORT) if REPORT in pipeline.all_outputs() else None
        if isinstance(report, AbstractVersionedDataset):
            path, command = report._get_load_path(), _opens(run_params, self._options)
            logger.info("Report with its gallery: %s\nMLflow and Kedro-Viz: %s", path, command)


def _opens(run_params: dict[str, Any], more: list[str]) -> str:
    """Return the command that opens the environment of a run, with the run's number of rounds and more options."""
    env, rounds = run_params["env"], (run_params["runtime_params"] or {}).get("rounds")
    options = [f"--env={env}"] * bool(env) + [f"--params=rounds={rounds}"] * (rounds is not None)
    return shlex.join([_kedro(), "rsi", "ui", *options, *more])


def _kedro() -> str:
    """Return the command of this run's Kedro, with its path where the shell finds none or another one by its name."""
    beside, named = Path(sys.executable).with_name("kedro"), shutil.which("kedro")
    if not beside.is_file() or (named is not None and Path(named).samefile(beside)):
        return "kedro"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
