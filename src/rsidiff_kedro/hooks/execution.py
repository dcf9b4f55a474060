"""Open the engine of a run, which starts its workers when the first step needs them, and close it at the end."""

from pathlib import Path

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from rsidiff_kedro.core.devices import computes_on_gpu
from rsidiff_kedro.execution.engine import Engine, ExecutionSettings, set_engine
from rsidiff_kedro.execution.local import LocalEngine
from rsidiff_kedro.parameters import parse_parameters


class ExecutionHooks:
    """Hand the engine to the steps of a run."""

    def __init__(self) -> None:
        self._settings, self._data, self._on_gpu = ExecutionSettings(), Path("data"), False
        self._engine: Engine = LocalEngine()
        self._threads_before: int | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read the settings."""
        loader = context.config_loader
        parameters = parse_parameters(loader["parameters"])
        self._settings = parameters.execution
        self._data = Path(context.project_path) / loader["globals"]["data"]
        self._on_gpu = self._settings.engine != "local" and computes_on_gpu(parameters.model.device)

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Make the engine.

        Raises:
            ExecutionError: Ray is not installed.
        """
        if self._settings.threads is not None:
            import torch  # slow to import, and a run that makes nothing does without

            if self._threads_before is None:  # a run whose beginning another hook ends has no end of its own
                self._threads_before = torch.get_num_threads()
            torch.set_num_threads(self._settings.threads)
        self._engine = make_engine(self._settings, self._data, self._on_gpu)
        set_engine(self._engine)

    @hook_impl(tryfirst=True)
    def after_pipeline_run(self) -> None:
        """End the workers."""
        set_engine(None)
        self._engine.close()
        if self._threads_before is not None:
            import torch

            torch.set_num_threads(self._threads_before)
            self._threads_before = None

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self) -> None:
        """End the workers before another run may continue in their folder."""
        self.after_pipeline_run()


def make_engine(settings: ExecutionSettings, data: Path, on_gpu: bool) -> Engine:
    """Return the engine that the settings name; raise ExecutionError if it is not installed."""
    if settings.engine == "local":
        return LocalEngine()
    from rsidiff_kedro.execution.ray_engine import RayEngine  # Ray is optional, and takes seconds to import

    return RayEngine(settings, data, on_gpu)
