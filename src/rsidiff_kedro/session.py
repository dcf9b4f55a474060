"""The Kedro session of this project: ends a run that a user can do something about with one line, not a traceback."""

import atexit
import difflib
import logging
import tempfile
import time
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.io.core import generate_timestamp
from kedro.pipeline import Pipeline
from safetensors import SafetensorError

from rsidiff_kedro.errors import InputError
from rsidiff_kedro.faults import GO_ON, disk_fault, exit_on_termination
from rsidiff_kedro.untrusted.text import printable

logger = logging.getLogger(__name__)

FILTERS = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs", "namespaces")
"""What of a pipeline is run, as `session.run` names it."""
UNREAD = "Failed while loading"
"""How Kedro begins what it says of any exception of a dataset of its own."""
SUGGESTED = 3


class SelectionError(InputError):
    """A pipeline, or what is to be run of it, does not exist."""


class RsiSession(KedroSession):
    """Kedro's session; its `run` raises click.ClickException where the input is at fault, with the cause attached."""

    _asked: Mapping[str, Any] | None = None

    def run(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Run as Kedro does.

        Raises:
            click.ClickException: in one line, an `InputError`, an unreadable dataset, a disk that is full or read-only.
        """
        self._asked = options
        exit_on_termination()
        self.session_id = self._store["session_id"] = own_version(self._project_path, self.session_id)
        try:
            return super().run(*args, **options)
        except (KeyboardInterrupt, SystemExit):
            logger.warning("Stopped: %s.", GO_ON)
            raise
        except (ValueError, OSError, RuntimeError, SafetensorError, DatasetError) as error:
            fault = disk_fault(error)
            if fault is None and not _is_input(error):
                raise
            raise click.ClickException(printable(fault) if fault else _line(error)) from error

    def load_context(self) -> KedroContext:
        """The context; in a run, names that no pipeline has are refused as soon as the number of rounds is known."""
        context = super().load_context()
        if self._asked is not None:
            check_selection(**self._asked)
        return context


def own_version(project: Path, version: str) -> str:
    """The version, or a later one if a run of this project on this machine has it already.

    A version is a time stamp of milliseconds, and runs that are started together would share one.
    """
    claims = Path(tempfile.gettempdir()) / f"rsidiff_kedro_{sha256(str(project).encode()).hexdigest()[:16]}"
    claims.mkdir(exist_ok=True)
    while True:
        try:
            (claims / version).touch(exist_ok=False)
        except FileExistsError:
            time.sleep(0.002)
            version = generate_timestamp()
        else:
            atexit.register((claims / version).unlink, missing_ok=True)
            return version


def check_selection(pipeline_names: Iterable[str] | None = None, **options: Any) -> None:
    """Raise SelectionError unless the pipelines exist and have what is to be run of them."""
    names = list(pipeline_names or ["__default__"])
    for name in names:
        if name not in pipelines:
            raise SelectionError(f"there is no pipeline {name!r}; there are {', '.join(sorted(pipelines))}")
    filters = {name: options[name] for name in FILTERS if options.get(name)}
    versions = options.get("load_versions") or {}
    if not filters and not versions:
        return
    pipeline = sum((pipelines[name] for name in names), Pipeline([]))
    unknown = [name for name in versions if name not in pipeline.datasets()]
    if unknown:
        advice = _advice(pipeline, {"load_versions": unknown})
        raise SelectionError(f"--load-versions names {unknown[0]!r}, which the pipeline does not have. {advice}")
    wanted = {name: value for name, value in filters.items() if name != "namespaces"}
    try:
        pipeline.filter(**wanted, node_namespaces=filters.get("namespaces"))
    except ValueError as error:  # Kedro's, of names alone
        raise SelectionError(f"{_line(error)} {_advice(pipeline, filters)}") from error


def _advice(pipeline: Pipeline, filters: Mapping[str, Any]) -> str:
    """Names like those that were given, or where all of them are listed."""
    given = [str(name) for value in filters.values() for name in value]
    known = {name for node in pipeline.nodes for name in (node.name, *node.tags)}
    known |= pipeline.datasets() | {node.namespace for node in pipeline.nodes if node.namespace}
    near = [match for name in given for match in difflib.get_close_matches(name, known - {*given}, n=SUGGESTED)]
    listed = f"Give a name that it has: {', '.join(near)}" if near else "Give names that it has"
    return f"{listed} (`kedro registry describe` lists the nodes)."


def _is_input(error: Exception) -> bool:
    """Whether a user can do something; what Kedro wraps of a dataset's own code may be a mistake in it."""
    wrapped = str(error).startswith("Failed while") and not isinstance(error.__cause__, OSError | ValueError)
    return isinstance(error, InputError) or (isinstance(error, DatasetError) and not wrapped)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if text.startswith(UNREAD):
        text += "; make the dataset anew, or load another version of it with --load-versions"
    return text
