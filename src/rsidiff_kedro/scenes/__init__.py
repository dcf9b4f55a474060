"""Scenes, the embedded default: a world of captioned shapes with an exact judge, and models trained on it.

The rest of the project knows it by registry strings alone, as it would know another package's plug-ins.
"""

from pathlib import Path

BASE_FOLDER = Path(__file__).parent / "assets" / "base"
"""The base model, `model.base: scenes`."""
PROXY_FOLDER = Path(__file__).parent / "assets" / "proxy"
"""The preference model, the reward `proxy`."""
