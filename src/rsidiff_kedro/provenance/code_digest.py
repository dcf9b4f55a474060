"""Digest what computes a step: the code that it calls, the libraries, and the shipped weights.

A step's code is the function of its node and every definition of this project that it refers to, directly or through
others: functions, classes, constants. Comments, docstrings, layout and other definitions do not count. A registry
counts with the plug-ins that the step's parameters name: those from elsewhere as whole modules, see `plugin_code`. A
module that imports Jinja2 counts with its folder `templates`.
"""

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from copy import copy
from functools import cache
from pathlib import Path
from typing import NamedTuple

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.registry import PluginError, Registry
from rsidiff_kedro.core.untrusted.paths import is_hidden
from rsidiff_kedro.provenance.plugin_code import is_own, read_plugin
from rsidiff_kedro.provenance.syntax import Place, is_docstring, normalized, read_source, sources_changed

PACKAGE = Path(__file__).parents[1]
LIBRARIES = "diffusers ftfy numpy pandas peft pillow safetensors scikit-learn scipy tokenizers torch transformers"
"""The libraries that compute."""
OPTIONAL = {
    "onnxruntime": "onnxruntime",
    "bitsandbytes_8bit": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
}
"""Those that compute where a parameter is a text that asks for them, by this text."""
_ALL = "*"
"""Begins the name of a module from which all is imported."""


class _Module(NamedTuple):
    """A parsed module.

    Attributes:
        definitions: normalized source by name.
        references: what each definition refers to; under "", what the rest does.
        imports: the place that a name was imported from.
        rest: normalized source of the statements that define nothing, and templates.
        registries: names of `Registry` objects.
    """

    definitions: dict[str, str]
    references: dict[str, tuple[tuple[str, ...], ...]]
    imports: dict[str, Place]
    rest: str
    registries: frozenset[str]


def code_digest(places: Collection[Place], plugins: Collection[str] = ()) -> str:
    """Return 12 hex digits of the SHA-256 of the code that functions and classes need.

    `plugins` are the texts of the step's parameters, some of which name plug-ins.
    """
    digest = hashlib.sha256()
    for place, source in sorted(_closure(frozenset(places), frozenset(plugins)).items()):
        digest.update(f"{place.module}:{place.name}\0{source}\0".encode())
    return digest.hexdigest()[:12]


def plugin_digests(places: Collection[Place], plugins: Collection[str]) -> dict[str, str]:
    """Return such a digest of each plug-in alone that these functions and classes need, by its name.

    It leaves out the plug-ins that a plug-in itself opens by name. `plugins` are as in `code_digest`.
    """
    found: dict[str, set[Place]] = defaultdict(set)
    for place in _closure(frozenset(places), frozenset(plugins)):
        module = _parse(place.module) if place.name and not is_own(place.module) else None
        if module is not None and place.name in module.registries:
            for text in plugins:
                found[text].update(filter(None, [_plugin(place, text)]))
    return {name: code_digest(made) for name, made in sorted(found.items()) if made}


def read_again() -> None:
    """Read all code again if any has changed, and the networks that come with the package."""
    assets_digest.cache_clear()
    if sources_changed():
        _closure.cache_clear()
        _parse.cache_clear()


@cache
def _closure(places: frozenset[Place], plugins: frozenset[str]) -> dict[Place, str]:
    """Return the normalized source of everything that these places need, by place."""
    own = {place for place in places if is_own(place.module)}
    packages = {PACKAGE.name, *map(_package, places - own)}
    found: dict[Place, str] = {}
    seen: set[Place] = set()
    waiting = list(places - own)
    for place in own:
        _add_plugin(place, found, waiting)
    while waiting:
        place = _defined_at(waiting.pop(), packages)
        if place in seen or _package(place) not in packages:
            continue
        seen.add(place)
        module = _parse(place.module)
        if module is None or (place.name and place.name not in module.definitions):
            found[place] = ""
            if module is not None:  # made in another way, as in a loop: the module counts as a whole
                waiting.append(Place(place.module))
            continue
        if place.name in module.registries:
            found[place] = ""
            for plugin in filter(None, (_plugin(place, text) for text in plugins)):
                if _package(plugin) in packages:
                    waiting.append(plugin)
                    continue
                _add_plugin(plugin, found, waiting)
            continue
        found[Place(place.module)] = module.rest
        if place.name:
            found[place] = module.definitions[place.name]
        else:
            waiting += [Place(place.module, name) for name in module.definitions]
        chains = {*module.references.get("", ()), *module.references.get(place.name, ())}
        waiting += [each for chain in chains for each in _resolve(place.module, chain, packages)]
    return found


def _add_plugin(place: Place, found: dict[Place, str], waiting: list[Place]) -> None:
    """Add the modules of a plug-in to what was found, and what they import to what waits."""
    code = read_plugin(place.module)
    found |= {place: "", **{Place(name): source for name, source in code.sources.items()}}
    waiting += code.imported


def _package(place: Place) -> str:
    return place.module.partition(".")[0]


def _plugin(place: Place, text: str) -> Place | None:
    """Return where the plug-in of this name is defined; None if the registry has none."""
    registry: Registry = getattr(importlib.import_module(place.module), place.name)
    try:
        return Place(*registry.path(text).split(":"))
    except PluginError:
        return None


def _resolve(module_name: str, chain: tuple[str, ...], packages: Collection[str]) -> Iterator[Place]:
    """Yield the place that a name with its attributes, such as `filters.filter_prompts`, refers to in a module."""
    module = _parse(module_name)
    assert module is not None
    name, *attributes = chain
    if name in module.definitions:
        yield Place(module_name, name)
    if name in module.imports:  # also of what the module then changes, as in `TABLE["key"] = value`
        target = _defined_at(module.imports[name], packages)
        while attributes and not target.name and target.module.partition(".")[0] in packages:
            target = _defined_at(Place(target.module, attributes.pop(0)), packages)
        yield target


def _defined_at(place: Place, packages: Collection[str]) -> Place:
    """Follow re-exports to the module that defines a name; a submodule, or one that imports `*`, counts as a whole."""
    seen: set[Place] = set()
    while place.name and place not in seen and place.module.partition(".")[0] in packages:
        seen.add(place)
        module = _parse(place.module)
        if module is not None and place.name in module.definitions:
            break
        target = module.imports.get(place.name, place) if module is not None else place
        if target == place and _parse(f"{place.module}.{place.name}"):
            return Place(f"{place.module}.{place.name}")
        if target == place and module is not None and any(name.startswith(_ALL) for name in module.imports):
            return Place(place.module)
        place = target
    return place


@cache
def _parse(module: str) -> _Module | None:
    """Read a module's source; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError, TypeError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    try:
        tree = ast.parse(read_source(path), path)
    except (SyntaxError, ValueError) as error:  # half edited, perhaps
        raise InputError(f"{path} is no Python ({error}); correct it") from error
    imports: dict[str, Place] = {}
    for node in ast.walk(tree):  # also inside functions; a name means the same in a whole module of this project
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports = dict(_imported(node, package)) | imports
    definitions: defaultdict[str, str] = defaultdict(str)
    references: defaultdict[str, tuple[tuple[str, ...], ...]] = defaultdict(tuple)
    registries, rest = set(), []
    references[""] += tuple((name,) for name in imports if name.startswith(_ALL))
    for statement, conditional in _statements(tree.body):
        names = _names_of(statement)
        for name in names:
            definitions[name] += normalized(conditional)
            references[name] += tuple(_references(conditional))
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == Registry.__name__:
            registries |= {*names}
        if not (names or isinstance(statement, ast.Import | ast.ImportFrom) or is_docstring(statement)):
            rest.append(normalized(conditional))
            references[""] += tuple(_references(conditional))
    if any(target.module == "jinja2" for target in imports.values()):
        for template in sorted(path.parent.glob("templates/**/*")):
            if template.is_file():
                rest.append(f"{template.relative_to(path.parent).as_posix()}\0{read_source(template).decode()}\0")
    return _Module(dict(definitions), dict(references), imports, "".join(rest), frozenset(registries))


def _statements(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.stmt, ast.AST]]:
    """Yield top-level statements, and those of `if` and `try` there, each alone and with the conditions around it."""
    for node in nodes:
        if not isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            assert isinstance(node, ast.stmt)
            yield node, node
            continue
        branches = {name: part for name, part in ast.iter_fields(node) if isinstance(part, list)}
        for branch, part in branches.items():
            for statement, inner in _statements(part):
                conditional = copy(node)
                for name in branches:
                    setattr(conditional, name, [inner] if name == branch else [])
                yield statement, conditional


def _names_of(statement: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    targets: list[ast.expr] = []
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Assign():
            targets = statement.targets
        case ast.AnnAssign() | ast.AugAssign():
            targets = [statement.target]
    return [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, Place]]:
    """Yield the names that an import in a module of this package binds, with their places."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            bound = alias.asname or alias.name.partition(".")[0]
            yield bound, Place(alias.name if alias.asname else bound)
    else:
        parents = package.split(".")[: 1 - statement.level or None] if statement.level else []
        module = ".".join(filter(None, [*parents, statement.module]))
        for alias in statement.names:
            if alias.name == _ALL:
                yield f"{_ALL}{module}", Place(module)
            else:
                yield alias.asname or alias.name, Place(module, alias.name)


def _references(statement: ast.AST) -> Iterator[tuple[str, ...]]:
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


def library_versions(named: Collection[str] = ()) -> dict[str, str]:
    """Return the versions of Python, of `LIBRARIES`, and of those `OPTIONAL` that a step's parameters name."""
    asked = sorted({library for text, library in OPTIONAL.items() if text in named})
    optional = [name for name in asked if importlib.util.find_spec(name)]
    python = ".".join(map(str, sys.version_info[:2]))
    return {"python": python, **{name: _version(name) for name in [*LIBRARIES.split(), *optional]}}


_version = cache(importlib.metadata.version)


@cache
def assets_digest() -> str:
    """Return 12 hex digits of the SHA-256 of the networks that come with the package."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.glob("scenes/assets/**/*")):
        if path.is_file() and not is_hidden(str(path.relative_to(PACKAGE))):
            digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]
