"""The Kedro session of this project: end a run that a user can fix with one line instead of a traceback."""

import difflib
import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from safetensors import SafetensorError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.hooks.failures import GO_ON, disk_fault, exit_on_termination
from rsidiff_kedro.hooks.supported_runner import RunnerError, refusal
from rsidiff_kedro.hooks.versions import own_version

if TYPE_CHECKING:
    from rsidiff_kedro.hooks.runner import RsiRunner

logger = logging.getLogger(__name__)

FILTERS = ("tags", "from_nodes", "to_nodes", "node_names", "from_inputs", "to_outputs", "namespaces")
"""Arguments of `session.run` that select a part of a pipeline."""
UNREAD = "Failed while loading"
"""The first words of what Kedro says about an exception of one of its own datasets."""
SUGGESTED = 3


class PipelineNameError(InputError):
    """A pipeline, or a part of it, does not exist."""


class RsiSession(KedroSession):
    """Kedro's session; its `run` raises click.ClickException where the input is at fault, with the cause attached."""

    _options: Mapping[str, Any] | None = None

    def run(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Run as Kedro does, with this project's runner.

        Raises:
            click.ClickException: in one line, an `InputError`, an unreadable dataset, a disk that is full or read-only.
        """
        self._options = options
        exit_on_termination()
        self.session_id = self._store["session_id"] = own_version(self._project_path, self.session_id)
        try:
            return super().run(*args, **options | {"runner": _runner(options.get("runner"))})
        except (KeyboardInterrupt, SystemExit):
            logger.warning("Stopped: %s.", GO_ON)
            raise
        except (ValueError, OSError, RuntimeError, SafetensorError, DatasetError) as error:
            fault = disk_fault(error)
            if fault is None and not _is_input(error):
                raise
            raise click.ClickException(printable(fault) if fault else _line(error)) from error

    def load_context(self) -> KedroContext:
        """Return the context; in a run, refuse unknown names as soon as the number of rounds is known."""
        context = super().load_context()
        if self._options is not None:
            check_names(**self._options)
        return context


def _runner(given: Any) -> "RsiRunner":
    from rsidiff_kedro.hooks.runner import RsiRunner  # Kedro imports this module for every command

    if given is None or type(given) is SequentialRunner:
        return RsiRunner(is_async=given is not None and given._is_async)
    if isinstance(given, RsiRunner):
        return given
    raise RunnerError(refusal(type(given).__name__))


def check_names(pipeline_names: Iterable[str] | None = None, **options: Any) -> None:
    """Raise PipelineNameError unless the pipelines exist and have the parts that are to run."""
    names = list(pipeline_names or ["__default__"])
    for name in names:
        if name not in pipelines:
            raise PipelineNameError(f"there is no pipeline {name!r}; there are {', '.join(sorted(pipelines))}")
    filters = {name: options[name] for name in FILTERS if options.get(name)}
    versions = options.get("load_versions") or {}
    if not filters and not versions:
        return
    pipeline = sum((pipelines[name] for name in names), Pipeline([]))
    unknown = [name for name in versions if name not in pipeline.datasets()]
    if unknown:
        advice = _advice(pipeline, {"load_versions": unknown})
        raise PipelineNameError(f"--load-versions names {unknown[0]!r}, which the pipeline does not have. {advice}")
    wanted = {name: value for name, value in filters.items() if name != "namespaces"}
    try:
        pipeline.filter(**wanted, node_namespaces=filters.get("namespaces"))
    except ValueError as error:  # Kedro raises it for unknown names only
        raise PipelineNameError(f"{_line(error)} {_advice(pipeline, filters)}") from error


def _advice(pipeline: Pipeline, filters: Mapping[str, Any]) -> str:
    """Suggest similar names, or say where all of them are listed."""
    given = [str(name) for value in filters.values() for name in value]
    known = {name for node in pipeline.nodes for name in (node.name, *node.tags)}
    known |= pipeline.datasets() | {name for node in pipeline.nodes for name in node.namespace_prefixes}
    near = [match for name in given for match in difflib.get_close_matches(name, known - {*given}, n=SUGGESTED)]
    listed = f"Give a name that it has: {', '.join(near)}" if near else "Give names that it has"
    return f"{listed} (`kedro registry describe` lists the nodes)."


def _is_input(error: Exception) -> bool:
    """Tell an error that a user can fix; what Kedro wraps of a dataset's own code may be a mistake in it."""
    wrapped = str(error).startswith("Failed while") and not isinstance(error.__cause__, OSError | ValueError)
    return isinstance(error, InputError) or (isinstance(error, DatasetError) and not wrapped)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if text.startswith(UNREAD):
        text += "; make the dataset anew, or load another version of it with --load-versions"
    return text
