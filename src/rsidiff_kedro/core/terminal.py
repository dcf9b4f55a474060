"""Write to a terminal in any encoding."""

import io
import sys


def tolerate_any_text() -> None:
    """Have standard output escape what the locale cannot express, as standard error does, in place of an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
