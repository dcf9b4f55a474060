"""Trains the embedded default from nothing: corpus, autoencoder, text encoder and UNet, preference model, model cards."""

from rsidiff_kedro.pipelines.base_model.pipeline import create_pipeline

__all__ = ["create_pipeline"]
