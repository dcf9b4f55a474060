"""Render the report's HTML templates; everything a prompt or a file says is escaped."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def _environment() -> Environment:
    loader = PackageLoader("rsidiff_kedro.reporting", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=False)


def render(name: str, **values: Any) -> Markup:
    """Fill in the template `<name>.html.j2`."""
    return Markup(_environment().get_template(f"{name}.html.j2").render(**values))
