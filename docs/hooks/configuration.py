"""Write the configuration reference: names, limits and texts of the settings classes, values and comments of conf/."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from griffe import Docstring, DocstringSectionKind
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from rsidiff_kedro import settings
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.validation import sections_in
from rsidiff_kedro.hooks.mlflow_store import TrackingSettings
from rsidiff_kedro.parameters import schema
from rsidiff_kedro.prompts.sources import SOURCES

CONF = Path(__file__).parents[2] / "conf"
ENVIRONMENTS = ("scenes", "sd14", "sd3")
"""Whose values are shown, the default first."""
PRETRAINING = "base_model"
"""The section of the pipeline that trains the embedded default."""
MISSING = object()
LINE = re.compile(r"^(?P<indent> *)(?P<name>[a-z_0-9]+):[^#]*(?:# *(?P<text>.*))?$")
LEFT_OPEN = re.compile(r"^( *)# ([a-z_0-9]+): set\b *(.*)$")
INTRODUCTION = """---
search: {boost: 4}
---

# Configuration

Made from the settings classes and the comments in `conf/base` by `make docs`.

Values stand in `conf/`: `base` has every parameter, `scenes` what the embedded default changes, `sd14` and `sd3` what
Stable Diffusion 1.4 and 3 change. Change them in `conf/local/parameters.yml`, in an environment of your own
([how](how-to/my-model-folder.md)), or on the command line: `--params finetune.steps=40,gate.enabled=false`. An unknown
name or a value out of range ends a run before it starts. "Value" is that of a run without `--env`, then that of the
environments that differ. The training of the embedded default has its settings in
`conf/scenes/parameters_base_model.yml`.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the page."""
    files.append(File.generated(config, "configuration.md", content=reference()))
    return files


def reference() -> str:
    """Return the page in Markdown."""
    values = {name: _parameters(name) for name in ENVIRONMENTS}
    pages = [INTRODUCTION]
    parts = [(path, part) for path, part in _sections(schema(), "") if not path.startswith(PRETRAINING)]
    pages += [_section(path, part, values) for path, part in parts]
    pages += ["## `tracking` in `mlflow.yml`\n", _table("", TrackingSettings, {"base": _tracking()}, {})]
    pages.append("## Prompt sources\n\nThe kinds of `prompt_curation.source` ([examples](prompts.md)).\n")
    pages += [_source(kind) for kind in SOURCES.names]
    return "\n".join(pages)


def _parameters(environment: str) -> dict[str, Any]:
    loader = settings.CONFIG_LOADER_CLASS(str(CONF), env=environment, **settings.CONFIG_LOADER_ARGS)
    return loader["parameters"]


def _tracking() -> dict[str, Any]:
    return yaml.safe_load((CONF / "base/mlflow.yml").read_text(encoding="utf-8"))["tracking"]


def _sections(section: type[Section], path: str) -> Iterator[tuple[str, type[Section]]]:
    """Yield every section with its dotted path, before its parts."""
    yield path, section
    for name, field in section.model_fields.items():
        for part in sections_in(field.annotation):
            if name not in ("source", "evaluation_source"):
                yield from _sections(part, f"{path}.{name}".lstrip("."))


def _section(path: str, section: type[Section], values: dict[str, dict[str, Any]]) -> str:
    title = f"{'##' if '.' not in path else '###'} `{path}`" if path else "## Top level"
    first = (section.__doc__ or "").partition("\n\n")[0] if path else ""
    return "\n\n".join([title, " ".join(first.split()), _table(path, section, values, _comments())])


def _source(kind: str) -> str:
    """Return the table of a kind of source; its comments are at the end of a file of conf/base."""
    text = (CONF / "base/parameters_prompt_curation.yml").read_text(encoding="utf-8")
    block = re.search(rf"#   kind: {kind}\b.*\n((?:#   .*\n)*)", text)
    lines = re.findall(r"^#   ([a-z_]+):[^#]*?(?:# (.*))?$", block[1] if block else "", re.MULTILINE)
    section = SOURCES.load(kind)
    first = " ".join((section.__doc__ or "").partition("\n\n")[0].split())
    return f"### `kind: {kind}`\n\n{first}\n\n" + _table("", section, {}, dict(lines))


def _table(path: str, section: type[Section], values: dict[str, dict[str, Any]], comments: dict[str, str]) -> str:
    """Return a row per setting: name, meaning, values, what is allowed."""
    texts, limits = _attributes(section), section.model_json_schema()["properties"]
    rows = ["| name | meaning | value | allowed |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        full = f"{path}.{name}".lstrip(".")
        if (sections_in(field.annotation) and "source" not in name) or (name == "kind" and not path and not values):
            continue
        default = f"`{_yaml(limits[name]['default'])}`" if "default" in limits[name] else ""
        shown = _values(full, values) if values else default
        meaning = texts.get(name) or comments.get(full, "")
        rows.append(f"| `{name}` | {_cell(meaning)} | {shown} | {_allowed(limits[name])} |")
    return "\n".join(rows) + "\n" if len(rows) > 2 else ""


def _attributes(section: type[Section]) -> dict[str, str]:
    """Return what the docstrings of a class and of those that it derives from say of its attributes."""
    found = {}
    for each in reversed(section.__mro__):
        for part in Docstring(each.__doc__ or "").parse("google", warnings=False):
            if part.kind is DocstringSectionKind.attributes:
                found |= {item.name: item.description for item in part.value}
    return found


def _comments() -> dict[str, str]:
    """Return the comment of each parameter in conf/base by its dotted name."""
    found: dict[str, str] = {}
    for file in sorted((CONF / "base").glob("parameters*.yml")):
        parents: list[tuple[int, str]] = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if match := LINE.match(line) or LEFT_OPEN.match(line):
                indent, name, text = match.groups()
                parents = [each for each in parents if each[0] < len(indent)]
                parents.append((len(indent), name))
                found[".".join(each for _, each in parents)] = text or ""
    return found


def _values(name: str, values: dict[str, dict[str, Any]]) -> str:
    """Return the default environment's value, and those of the others that differ."""
    first, *others = [(environment, _value(name, tree)) for environment, tree in values.items()]
    shown = [f"`{_yaml(first[1])}`"] if first[1] is not MISSING else []
    shown += [f"{other}: `{_yaml(value)}`" for other, value in others if value not in (first[1], MISSING)]
    return "<br>".join(shown)


def _value(name: str, tree: Any) -> Any:
    """Return the value at a dotted name, or MISSING."""
    for part in name.split("."):
        tree = tree.get(part, MISSING) if isinstance(tree, dict) else MISSING
    return tree


def _yaml(value: Any) -> str:
    """Return a value as one line of YAML, long commits shortened."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).removesuffix("...\n").strip()
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{32}\b", r"\1…", text)


def _allowed(limits: dict[str, Any]) -> str:
    """Return what a part of a JSON schema allows, in words of YAML."""
    if "anyOf" in limits:
        return " or ".join(dict.fromkeys(_allowed(part) for part in limits["anyOf"]))
    if "enum" in limits or "const" in limits:
        return ", ".join(f"`{_yaml(value)}`" for value in limits.get("enum", [limits.get("const")]))
    low, above = limits.get("minimum"), limits.get("exclusiveMinimum")
    high, below = limits.get("maximum"), limits.get("exclusiveMaximum")
    bounds = [
        f"{word} {limit}"
        for word, limit in (("from", low), ("above", above), ("to", high), ("below", below))
        if limit is not None
    ]
    words = {"integer": "integer", "number": "number", "boolean": "`true`, `false`", "null": "`null`", "string": "text"}
    kind = words.get(str(limits.get("type")), {"array": "list", "object": "mapping"}.get(str(limits.get("type")), ""))
    return " ".join([kind, *bounds]).strip()


def _cell(text: str) -> str:
    """Return a text of a docstring as a table's cell, in words of YAML."""
    return re.sub(r"\bNone\b", "`null`", " ".join(text.split())).replace("|", "\\|")
