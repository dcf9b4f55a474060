"""Diffusion models: loading, sampling, adapters and fine-tuning, with diffusers and peft."""

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

# Models are opened for every stage; their own progress bars would drown the stages'.
transformers_logging.disable_progress_bar()
diffusers_logging.disable_progress_bar()
