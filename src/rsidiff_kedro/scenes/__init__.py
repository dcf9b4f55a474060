"""Provide the embedded default: captioned shapes with an exact judge, and models trained on them, as plug-ins."""

from pathlib import Path

BASE_FOLDER = Path(__file__).parent / "assets" / "base"
"""The base model, `model.base: scenes`."""
SD3_BASE_FOLDER = Path(__file__).parent / "assets" / "base_sd3"
"""The base model in Stable Diffusion 3's format, `model.base: scenes_sd3`."""
PROXY_FOLDER = Path(__file__).parent / "assets" / "proxy"
"""The preference model, the reward `proxy`."""
