"""Diffusion models: loading, sampling, adapters and fine-tuning, with diffusers and peft."""
