"""Fine-tuning: a round's candidate adapter from its parent and the training set."""

from rsidiff_kedro.pipelines.finetune.pipeline import create_pipeline

__all__ = ["create_pipeline"]
