"""Plug-ins by name: rewards, features, judges, prompt sources, model families and shipped models.

A plug-in is named in the parameters in one of three ways:

- a name that this project registers, such as `image_reward`;
- a name that an installed package registers as an entry point of the registry's group;
- `package.module:Name`, which is imported. A file in the project's `src/` folder is importable.
"""

import importlib
import re
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from rsidiff_kedro.core.errors import InputError

_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class PluginError(InputError):
    """A plug-in is unknown or cannot be imported; the message lists the names that exist."""


class Registry:
    """The plug-ins of one kind.

    Args:
        kind: what messages call them, such as "reward".
        group: the entry-point group in which other packages register theirs.
        own: this project's plug-ins as `module:Name`, imported when they are first used.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self.kind, self.group, self._own = kind, group, dict(own)

    @cached_property
    def _installed(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)}

    @property
    def names(self) -> tuple[str, ...]:
        """List the registered names, this project's first."""
        return (*self._own, *sorted(self._installed.keys() - self._own.keys()))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def path(self, name: str) -> str:
        """Return `module:Name` of a plug-in without importing it.

        Raises:
            PluginError: the name is not registered and is no `package.module:Name`.
        """
        if name in self._own:
            return self._own[name]
        if name in self._installed:
            return self._installed[name].value
        if _PATH.fullmatch(name):
            return name
        raise PluginError(
            f"unknown {self.kind} {name!r}; there are {', '.join(self.names)}; your own is package.module:Name"
        )

    def load(self, name: str) -> Any:
        """Import a plug-in.

        Raises:
            PluginError: the name is unknown, its module cannot be imported, or the module does not define it.
        """
        module_name, _, attribute = self.path(name).partition(":")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise PluginError(
                f"the {self.kind} {name!r} cannot be imported ({error}); install its package, or put its file into the "
                "project's src/ folder"
            ) from error
        if not hasattr(module, attribute):
            raise PluginError(
                f"the {self.kind} {name!r}: module {module_name} defines no {attribute!r}; correct the name"
            )
        return getattr(module, attribute)
