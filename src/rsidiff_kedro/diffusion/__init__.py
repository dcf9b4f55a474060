"""Load diffusion models, sample from them and fine-tune their adapters, with diffusers and peft."""

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

# Every stage opens models; the libraries' progress bars would hide the stages' own.
transformers_logging.disable_progress_bar()
diffusers_logging.disable_progress_bar()
