"""Trains the embedded default from nothing: corpus, base model, preference model, and their model cards."""

from rsidiff_kedro.pipelines.base_model.pipeline import create_pipeline

__all__ = ["create_pipeline"]
