"""Supervised fine-tuning on real pairs: the baseline that recursive self-improvement is compared with."""

from rsidiff_kedro.pipelines.sft.pipeline import create_pipeline

__all__ = ["create_pipeline"]
