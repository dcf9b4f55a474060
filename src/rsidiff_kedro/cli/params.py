"""Read `--params`, whose values may be lists and mappings."""

from typing import Any

import click
from omegaconf import OmegaConf


def split_params(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Return parameters as a tree: `a.b=[c, d],e={f: 1}`; Kedro's own callback splits lists and mappings too."""
    if isinstance(value, dict):  # of --config
        return value
    pairs = []
    for item in split_items(value):
        key, equals, given = (part.strip() for part in item.partition("="))
        if not key or not equals:
            raise click.BadParameter(
                f"{item!r} must contain a key and a value separated by `=`, as in --params rounds=3", context, option
            )
        pairs.append(f"{key}={given}")
    return OmegaConf.to_container(OmegaConf.from_dotlist(pairs))


def split_items(text: str) -> list[str]:
    """Split at commas, except in a value that begins with `[` or `{`, up to the bracket that closes it."""
    items, start, depth, quote, before = [], 0, 0, "", ","
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote else quote
        elif depth and sign in "'\"" and before in "[{,:":
            quote = sign
        elif sign in "[{" and (depth or (before == "=" and text[start:place].count("=") == 1)):
            depth += 1
        elif sign in "]}":
            depth = max(depth - 1, 0)
        elif sign == "," and not depth:
            items.append(text[start:place])
            start = place + 1
        before = before if sign.isspace() else sign
    return [item.strip() for item in [*items, text[start:]] if item.strip()]
