"""Weighting: how much each selected image counts in training."""

from rsidiff_kedro.pipelines.weighting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
