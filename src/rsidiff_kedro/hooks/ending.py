"""Say at the end of a run where to look."""

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from rsidiff_kedro.datasets.runs import REPORT

logger = logging.getLogger(__name__)


class EndingHooks:
    """Name the report's file, and how to open MLflow and Kedro-Viz, if the run made a report."""

    @hook_impl(trylast=True)
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log two lines."""
        report = catalog.get(REPORT) if REPORT in pipeline.all_outputs() else None
        if isinstance(report, AbstractVersionedDataset):
            path, command = report._get_load_path(), _opens(run_params)
            logger.info("Report with its gallery: %s\nMLflow and Kedro-Viz: %s", path, command)


def _opens(run_params: dict[str, Any]) -> str:
    """Return the command that opens the environment of a run, with the run's number of rounds."""
    env, rounds = run_params["env"], (run_params["runtime_params"] or {}).get("rounds")
    options = [f"--env={env}"] * bool(env) + [f"--params=rounds={rounds}"] * (rounds is not None)
    return shlex.join([_kedro(), "rsi", "ui", *options])


def _kedro() -> str:
    """Return the command of this run's Kedro, with its path where the shell finds none or another one by its name."""
    beside, named = Path(sys.executable).with_name("kedro"), shutil.which("kedro")
    if not beside.is_file() or (named is not None and Path(named).samefile(beside)):
        return "kedro"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
