"""Preference selection: the best images of each prompt."""

from rsidiff_kedro.pipelines.preference_selection.pipeline import create_pipeline

__all__ = ["create_pipeline"]
