"""Find the default configuration: beside the modules in an installed package, at the root of a clone."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
CONF = next((path for path in (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf") if path.is_dir()), _PACKAGE / "conf")
"""A folder as a project's `conf/`; pyproject.toml says that the top folder conf/ goes into the package."""
