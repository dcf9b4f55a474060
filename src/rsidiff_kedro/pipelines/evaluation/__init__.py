"""Evaluation: validation images and the gate, test images, and a round's metrics."""

from rsidiff_kedro.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
