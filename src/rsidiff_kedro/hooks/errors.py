"""Shows an error that a user can do something about as one line, and not as a traceback."""

import click
from kedro.framework.hooks import hook_impl

from rsidiff_kedro.errors import InputError


class ErrorHooks:
    """Ends a run whose node raised an `InputError` as command lines end, with its message and exit code 1."""

    @hook_impl(trylast=True)  # the other hooks close their books first
    def on_pipeline_error(self, error: Exception) -> None:
        """Raise the error again as one that click shows as a line."""
        if isinstance(error, InputError):
            raise click.ClickException(" ".join(str(error).split())) from error
