"""Prompt curation: from a source of prompts to a pool for training, validation and test prompts."""

from rsidiff_kedro.pipelines.prompt_curation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
