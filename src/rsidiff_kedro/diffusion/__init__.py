"""Diffusion models: loading, sampling, adapters and fine-tuning, with diffusers and peft."""

from transformers.utils import logging as transformers_logging

# Before diffusers is imported: it makes transformers advise about torchvision, which nothing here uses.
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()

from diffusers.utils import logging as diffusers_logging  # noqa: E402

diffusers_logging.set_verbosity_error()
diffusers_logging.disable_progress_bar()
