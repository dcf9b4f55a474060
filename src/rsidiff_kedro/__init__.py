"""Recursive self-improvement of text-to-image diffusion models, as a Kedro project."""

import os

__version__ = "0.1.0"

# transformers advises about torchvision as soon as diffusers is imported; nothing here uses it.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# The hub's client tells of each try to reach the hub, though the error after the last says enough, and of a README.md
# without metadata, which needs none. It sets its own level when it is imported, whatever conf/logging.yml says.
os.environ.setdefault("HF_HUB_VERBOSITY", "error")
