"""Figures, gallery, report and summary of all rounds."""

from rsidiff_kedro.pipelines.report.pipeline import create_pipeline

__all__ = ["create_pipeline"]
