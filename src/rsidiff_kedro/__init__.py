"""Recursive self-improvement of text-to-image diffusion models, as a Kedro project."""

import os

__version__ = "0.1.0"

# transformers advises about torchvision as soon as diffusers is imported; nothing here uses it.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
