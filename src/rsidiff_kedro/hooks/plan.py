"""Say before a run of the whole method what it will need."""

import logging
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline

from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.datasets.runs import REPORT
from rsidiff_kedro.parameters import parse_parameters

logger = logging.getLogger(__name__)


class PlanHooks:
    """Log the plan's three lines, without the probe of `kedro rsi plan`."""

    _context: KedroContext | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the context."""
        self._context = context

    @hook_impl(trylast=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Log the plan if the run trains rounds and reports on them; of a continued run, the reuse says what is left.

        The checks before have found the model.
        """
        whole = {REPORT, "rsi.round_1.candidate"} <= pipeline.all_outputs()
        if self._context is None or not whole or run_params["only_missing_outputs"]:
            return
        from rsidiff_kedro.diffusion.footprint import fetch_configs
        from rsidiff_kedro.pipelines.plan import plan_lines

        loader, root = self._context.config_loader, Path(self._context.project_path)
        parameters = parse_parameters(loader["parameters"]).within(root)
        try:
            lines = plan_lines(parameters, fetch_configs(parameters.model), root / loader["globals"]["data"])
        except (OSError, ValueError) as error:  # no reason not to run
            lines = [f"Plan: unknown ({printable(str(error))})"]
        logger.info("%s", "\n".join(lines))
