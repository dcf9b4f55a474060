"""Digests of what computes a step: the code that it calls, the libraries, and the shipped weights.

A step's code is the function of its node and every definition of this project that it refers to, directly or through
others: functions, classes, constants. Comments, docstrings and layout do not count, nor do definitions beside those.
Of a registry's plug-ins only those count that the step's parameters name.
"""

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rsidiff_kedro.core.registry import PluginError, Registry

PACKAGE = Path(__file__).parents[1]
LIBRARIES = (
    "diffusers",
    "numpy",
    "pandas",
    "peft",
    "pillow",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
"""The libraries that compute."""


class Place(NamedTuple):
    """A definition at the top level of a module; without a name, the module as a whole."""

    module: str
    name: str = ""


class _Module(NamedTuple):
    """What a module's source says.

    Attributes:
        definitions: normalized source by name.
        references: what each definition refers to.
        imports: the place that a name was imported from.
        rest: normalized source of the statements that define nothing.
        registries: names of `Registry` objects.
    """

    definitions: dict[str, str]
    references: dict[str, tuple[tuple[str, ...], ...]]
    imports: dict[str, Place]
    rest: str
    registries: frozenset[str]


def code_digest(places: Collection[Place], plugins: Collection[str] = ()) -> str:
    """Return 12 hex digits of the SHA-256 of the code that these places need.

    Args:
        places: functions and classes.
        plugins: texts of the step's parameters, some of which name plug-ins.
    """
    digest = hashlib.sha256()
    for place, source in sorted(_closure(frozenset(places), frozenset(plugins)).items()):
        digest.update(f"{place.module}:{place.name}\0{source}\0".encode())
    return digest.hexdigest()[:12]


@cache
def _closure(places: frozenset[Place], plugins: frozenset[str]) -> dict[Place, str]:
    """Return the normalized source of all that is needed, by place."""
    packages = {PACKAGE.name, *(place.module.partition(".")[0] for place in places)}
    found: dict[Place, str] = {}
    waiting = list(places)
    while waiting:
        place = _defined_at(waiting.pop())
        if place in found or place.module.partition(".")[0] not in packages:
            continue
        module = _parse(place.module)
        if module is None or (place.name and place.name not in module.definitions):
            found[place] = ""  # a function inside another, or no source: its name has to do
            continue
        if place.name in module.registries:
            named = [_plugin(place, text) for text in plugins]
            packages |= {each.module.partition(".")[0] for each in named if each}
            waiting += [each for each in named if each]
            found[place] = ""
            continue
        found[place] = module.definitions[place.name] if place.name else ""
        found[Place(place.module, "")] = module.rest
        names = [place.name] if place.name else list(module.definitions)
        waiting += [
            each for name in names for chain in module.references[name] for each in _resolve(place, chain, packages)
        ]
    return found


def _plugin(place: Place, text: str) -> Place | None:
    """Return where the plug-in of this name is defined; None if the registry has none."""
    registry = getattr(importlib.import_module(place.module), place.name)
    assert isinstance(registry, Registry)
    try:
        module, _, name = registry.path(text).partition(":")
    except PluginError:
        return None
    return Place(module, name)


def _resolve(place: Place, chain: tuple[str, ...], packages: Collection[str]) -> Iterator[Place]:
    """Yield what a name with its attributes, such as `filters.filter_prompts`, refers to."""
    module = _parse(place.module)
    assert module is not None
    name, *attributes = chain
    if name in module.definitions:
        yield Place(place.module, name)
        return
    target = module.imports.get(name)
    if target is None or target.module.partition(".")[0] not in packages:
        return
    while attributes and not target.name and _parse(target.module):
        target = _member(target.module, attributes.pop(0))
    yield target


def _defined_at(place: Place) -> Place:
    """Follow re-exports to the module that defines a name."""
    seen: set[Place] = set()
    while place.name and place not in seen:
        seen.add(place)
        module = _parse(place.module)
        if module is None or place.name in module.definitions or place.name not in module.imports:
            break
        place = module.imports[place.name]
    return place


def _member(module: str, name: str) -> Place:
    """Return a module's member: a submodule, or something that it defines or imports."""
    parsed = _parse(module)
    if parsed is not None and name in {*parsed.definitions, *parsed.imports}:
        return Place(module, name)
    return Place(f"{module}.{name}") if _parse(f"{module}.{name}") else Place(module, name)


@cache
def _parse(module: str) -> _Module | None:
    """Read a module's source; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    tree = ast.parse(Path(spec.origin).read_bytes())
    definitions: dict[str, str] = {}
    references: dict[str, tuple[tuple[str, ...], ...]] = {}
    imports: dict[str, Place] = {}
    registries, rest = set(), []
    for statement in _statements(tree.body):
        names = _names_of(statement)
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports |= dict(_imported(statement))
        elif names:
            for name in names:
                definitions[name] = definitions.get(name, "") + _normalized(statement)
                references[name] = (*references.get(name, ()), *_references(statement))
            if _is_registry(statement):
                registries |= set(names)
        elif not _is_docstring(statement):
            rest.append(_normalized(statement))
    local = [dict(_imported(each)) for each in ast.walk(tree) if isinstance(each, ast.Import | ast.ImportFrom)]
    for each in local:  # imports inside functions; a name means the same in a whole module of this project
        imports = each | imports
    return _Module(definitions, references, imports, "".join(rest), frozenset(registries))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield top-level statements, and those of `if` and `try` at the top level."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try):
            blocks = [statement.body, statement.orelse, getattr(statement, "finalbody", [])]
            blocks += [handler.body for handler in getattr(statement, "handlers", [])]
            yield from (inner for block in blocks for inner in _statements(block))
        else:
            yield statement


def _names_of(statement: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)]


def _imported(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Place]]:
    """Yield the names that an import binds, with what they are."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0], Place(alias.name)
    elif statement.module and not statement.level:
        for alias in statement.names:
            yield alias.asname or alias.name, _imported_from(statement.module, alias.name)


def _imported_from(module: str, name: str) -> Place:
    """Tell a submodule from a definition without importing a library to find out."""
    if not module.startswith(PACKAGE.name):
        return Place(module, name)
    path = PACKAGE.joinpath(*module.split(".")[1:], name)
    return Place(f"{module}.{name}") if path.with_suffix(".py").is_file() or path.is_dir() else Place(module, name)


def _references(statement: ast.stmt) -> Iterator[tuple[str, ...]]:
    """Yield the names that a statement reads, each with its attributes."""
    inner = set()
    for node in ast.walk(statement):
        chain: list[str] = []
        part: ast.AST = node
        while isinstance(part, ast.Attribute):
            chain.insert(0, part.attr)
            part = part.value
            inner.add(id(part))
        if isinstance(part, ast.Name) and (chain or id(part) not in inner):
            yield (part.id, *chain)


def _is_registry(statement: ast.stmt) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == Registry.__name__


def _is_docstring(statement: ast.AST) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)


def _normalized(statement: ast.stmt) -> str:
    """Return the statement's syntax tree as text, without docstrings."""
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_docstring(part)]  # type: ignore[attr-defined]
    return ast.dump(statement)


@cache
def library_versions() -> dict[str, str]:
    """Return the installed versions of `LIBRARIES`."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


@cache
def assets_digest() -> str:
    """Return 12 hex digits of the SHA-256 of the networks that come with the package."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.glob("scenes/assets/**/*")):
        if path.is_file():
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
