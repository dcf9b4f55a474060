"""Find plug-ins by name: rewards, features, judges, prompt sources, model families and shipped models.

The parameters name a plug-in in one of three ways:

- a name that this project registers, such as `image_reward`;
- a name that an installed package registers as an entry point of the registry's group;
- `package.module:Name`, which is imported. A file in the project's `src/` folder is importable.
"""

import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from traceback import extract_tb
from typing import Any

from rsidiff_kedro.core.errors import InputError

_LIBRARIES = (Path(sysconfig.get_path("stdlib")), Path(__file__).parents[1])
"""Python's own modules and this package, whose lines are not those of a plug-in."""
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class PluginError(InputError):
    """A plug-in that is unknown or cannot be imported; the message lists the names that exist."""


class Registry:
    """The plug-ins of one kind, such as "reward".

    `own` maps this project's names to `module:Name`; other packages register theirs as entry points of `group`.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind, self.group, self._own = kind, group, dict(own)

    @cached_property
    def _paths(self) -> dict[str, str]:
        """Map this project's names, then those of installed packages, to `module:Name`."""
        installed = {point.name: point.value for point in entry_points(group=self.group)}
        return self._own | dict(sorted(installed.items())) | self._own

    @property
    def names(self) -> tuple[str, ...]:
        """List the registered names, this project's first."""
        return tuple(self._paths)

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def package(self, name: str) -> str:
        """Return the name of the installed package that registers a name."""
        if name in self._own:
            return __package__.partition(".")[0]
        return next(point.dist.name for point in entry_points(group=self.group) if point.name == name and point.dist)

    def path(self, name: str) -> str:
        """Return `module:Name` of a plug-in without importing it.

        Raises:
            PluginError: the name is neither registered nor a `package.module:Name`.
        """
        if name not in self._paths and not _PATH.fullmatch(name):
            raise PluginError(
                f"unknown {self.kind} {name!r}; there are {', '.join(self.names)}; your own is package.module:Name"
            )
        return self._paths.get(name, name)

    def is_there(self, name: str) -> bool:
        """Tell whether a plug-in is registered or its module is found; this imports the packages above the module."""
        if name in self._paths:
            return True
        origin, _, attribute = name.partition(":")
        if not _PATH.fullmatch(name):
            return False
        if origin in sys.modules:
            return hasattr(sys.modules[origin], attribute)
        try:
            return importlib.util.find_spec(origin) is not None
        except ImportError:
            return False
        except (Exception, SystemExit):  # of its package, which is there
            return True

    def load(self, name: str) -> Any:
        """Import a plug-in.

        Raises:
            PluginError: the name is unknown, its module cannot be imported, or the module does not define it.
        """
        origin, _, attribute = self.path(name).partition(":")
        try:
            module = importlib.import_module(origin)
        except ImportError as error:
            place = _where(error)
            said = f"{place}: {error}" if place else error
            raise PluginError(
                f"the {self.kind} {name!r} cannot be imported ({said}); install its package, or put its file into the "
                "project's src/ folder"
            ) from error
        except (Exception, SystemExit) as error:
            said = getattr(error, "msg", None) or str(error)
            raise PluginError(
                f"the {self.kind} {name!r} cannot be imported: {_where(error) or origin}: {type(error).__name__}"
                f"{f': {said}' if said else ''}; correct it"
            ) from error
        if not hasattr(module, attribute):
            raise PluginError(f"the {self.kind} {name!r}: module {origin} defines no {attribute!r}; correct the name")
        return getattr(module, attribute)


def _where(error: BaseException) -> str | None:
    """Return the file and line of a module that cannot be imported: its innermost line, not that of a library."""
    if isinstance(error, SyntaxError) and error.filename and os.path.isfile(error.filename):
        return f"{error.filename}, line {error.lineno}"
    frames = [each for each in extract_tb(error.__traceback__) if os.path.isabs(each.filename)][2:]  # after importlib's
    own = [each for each in frames if not _is_library(Path(each.filename))]
    own = own or [each for each in frames if each.filename == frames[0].filename]  # the plug-in is an installed one
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else None


def _is_library(file: Path) -> bool:
    return "site-packages" in file.parts or "dist-packages" in file.parts or any(map(file.is_relative_to, _LIBRARIES))
