"""Say at the end of a run where to look."""

import logging

from kedro.framework.hooks import hook_impl
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.pipeline import Pipeline

from rsidiff_kedro.datasets.runs import REPORT

logger = logging.getLogger(__name__)


class EndingHooks:
    """Name the report's file, and how to open MLflow and Kedro-Viz, if the run made a report."""

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log two lines."""
        report = catalog.get(REPORT) if REPORT in pipeline.all_outputs() else None
        if isinstance(report, AbstractVersionedDataset):
            logger.info("Report with its gallery: %s\nMLflow and Kedro-Viz: make ui", report._get_load_path())
