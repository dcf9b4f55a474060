"""Open files with libraries: models, tokenizers, configurations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.untrusted.text import printable

DAMAGE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RuntimeError,
    ImportError,
)  # fmt: skip
"""Errors that libraries raise for broken files, and for configurations with wrong types or numbers."""


@contextmanager
def loading(refuse: Callable[[Exception], Exception]) -> Iterator[None]:
    """Raise `refuse(error)` for a library's error about a broken file, not for an InputError or a lack of memory."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # tokenizers raises plain Exception, which no narrower clause catches alone
        import torch  # slow to import, and a run that makes nothing does without

        known = type(error) is Exception or isinstance(error, (*DAMAGE, SafetensorError, StrictDataclassError))
        if isinstance(error, torch.OutOfMemoryError) or not known:
            raise
        raise refuse(error) from error


def reason(error: Exception, length: int = 300) -> str:
    """Return an error's message in one line of at most `length` characters, or its type if it has none."""
    return printable(str(error))[:length] or type(error).__name__
