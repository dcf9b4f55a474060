"""Render the report's HTML templates, and escape every text of a prompt or a file."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


@cache
def _environment() -> Environment:
    loader = PackageLoader("rsidiff_kedro.reporting", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined)


def render(name: str, **values: Any) -> Markup:
    """Fill in the template `<name>.html.j2`."""
    return Markup(_environment().get_template(f"{name}.html.j2").render(**values))
