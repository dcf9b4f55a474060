"""Kedro pipelines: one folder a stage, and `rsi`, their composition over the rounds."""
