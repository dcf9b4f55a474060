"""Opening what libraries load by themselves: models, tokenizers, configurations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from rsidiff_kedro.core.untrusted.text import printable

_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)
"""What libraries raise of files that are broken or do not fit, and of a configuration's wrong types and numbers."""


@contextmanager
def loading(refuse: Callable[[Exception], Exception]) -> Iterator[None]:
    """Raise `refuse(error)` in the place of what a library raises of broken files.

    Memory that does not suffice is no fault of the files, and stays what it is.
    """
    try:
        yield
    except Exception as error:  # tokenizers raises plain Exception, which no narrower clause catches alone
        plain = type(error) is Exception
        if isinstance(error, torch.OutOfMemoryError) or not (plain or isinstance(error, _ERRORS)):
            raise
        raise refuse(error) from error


def reason(error: Exception, length: int = 300) -> str:
    """What an error says, in one line of at most so many characters."""
    return printable(str(error))[:length] or type(error).__name__
