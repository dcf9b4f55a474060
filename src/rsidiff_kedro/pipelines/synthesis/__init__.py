"""Synthesis: a round draws its prompts and its images."""

from rsidiff_kedro.pipelines.synthesis.pipeline import create_pipeline

__all__ = ["create_pipeline"]
