"""Read `--params`, whose values may be lists and mappings."""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import click
import yaml
from omegaconf import OmegaConf

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is fast and not everywhere
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_CONTENT = (yaml.ScalarToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


def split_params(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Return parameters as a tree: `a.b=[c, d],e={f: 1}`; Kedro's own callback splits lists and mappings too."""
    if isinstance(value, dict):  # of --config
        return value
    pairs, trees = list[str](), list[tuple[str, Any]]()
    for item in split_items(value):
        key, _, given = (part.strip() for part in item.partition("="))
        if not key or not given:
            raise click.BadParameter(
                f"{item!r} must contain a key and a value separated by `=`, as in --params rounds=3; quotation marks "
                "keep a value with commas together, as in --params \"a='b, c'\"; for no value, write null",
                context,
                option,
            )
        if comment := _comment(given):
            raise click.BadParameter(
                f"of the value of {key!r}, {comment!r} would count as a comment; put the value into quotation marks, "
                f"as in --params \"{key}='a #1'\"",
                context,
                option,
            )
        if octal := _octal(given):
            number, read = octal
            raise click.BadParameter(
                f"of the value of {key!r}, {number} would count as {read}, because a number that begins with a zero is "
                f"an octal one; leave out the zeros, or put a text into quotation marks, as in "
                f"--params \"{key}='{number}'\"",
                context,
                option,
            )
        pairs.append(f"{key}={given}")
        trees.append((key, _tree(pairs[-1:])))
    twice = next(
        (key for (key, tree), (other, theirs) in combinations(trees, 2) if _differ(tree, theirs, key == other)), None
    )
    if twice is not None:
        raise click.BadParameter(
            f"{twice!r} is given twice, as a whole or in parts; give one value of it", context, option
        )
    return _tree(pairs)


def _tree(pairs: list[str]) -> Any:
    return OmegaConf.to_container(OmegaConf.from_dotlist(pairs))


def _differ(tree: Any, other: Any, whole: bool = False) -> bool:
    """Tell whether two trees have different values at one place, or as a whole."""
    if not whole and isinstance(tree, dict) and isinstance(other, dict):
        return any(_differ(tree[key], other[key]) for key in tree.keys() & other.keys())
    return repr(tree) != repr(other)  # to which True is not 1, and NaN is NaN


def split_items(text: str) -> list[str]:
    """Split at commas, except within a value that is a list, a mapping or in quotation marks."""
    items, start = [], 0
    while start < len(text):
        end = next((each for each in _ends(text, start) if _is_whole(text[start:each])), len(text))
        items.append(text[start:end].strip())
        start = end + 1
    return [item for item in items if item]


def _comment(value: str) -> str | None:
    """Return what YAML leaves out of a value as a comment; None if that is nothing, or the value is no YAML."""
    tokens = _tokens(value)
    ends = [token.end_mark.index for token in tokens if isinstance(token, _CONTENT)]
    rest = value[max(ends, default=0) :].lstrip() if tokens else ""
    return rest if rest.startswith("#") else None


def _octal(value: str) -> tuple[str, int] | None:
    """Return the first number in a value that begins with a zero, and as what YAML reads it; `089` is a text."""
    try:
        events = list(yaml.parse(value, _LOADER))
    except yaml.YAMLError:
        return None
    for event in events:
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _LEADING_ZERO.fullmatch(event.value):
            read = yaml.safe_load(event.value)
            if isinstance(read, int):
                return event.value, read
    return None


def _tokens(value: str) -> list[yaml.Token]:
    """Return what YAML reads; nothing if the value is no YAML."""
    try:
        return list(yaml.scan(value, _LOADER))
    except yaml.YAMLError:
        return []


def _ends(text: str, start: int) -> Iterator[int]:
    """Yield the place of each comma from `start` on, then the end of the text."""
    place = text.find(",", start)
    while place >= 0:
        yield place
        place = text.find(",", place + 1)
    yield len(text)


def _is_whole(item: str) -> bool:
    """Tell whether an item's value is nothing that goes on behind a comma; what is wrong otherwise is told later."""
    value = item.partition("=")[2].strip()
    closing = {"[": "]", "{": "}", "'": "'", '"': '"'}.get(value[:1], "")
    if not closing or not value.endswith(closing):
        return not closing
    try:
        yaml.compose(value, _LOADER)
    except yaml.YAMLError:
        return False
    return True
