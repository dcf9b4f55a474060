"""Read `conf/`: environments may extend each other, and a broken file is reported in one line."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import click
import yaml
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate
from kedro.config import AbstractConfigLoader, OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import with_home
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.execution.run_facts import Change
from rsidiff_kedro.provenance.records import flat

logger = logging.getLogger(__name__)

UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, OSError, RecursionError)
"""Errors that YAML, omegaconf and Kedro raise for a broken file."""
OPTIONAL = frozenset({"credentials", "globals"})
"""Configuration that Kedro itself does not require."""
MERGED = frozenset({"parameters", "mlflow"})
"""Configuration of which an environment names only what differs, at any depth."""
DEFAULT = "scenes"
"""The environment that the default run environment (`conf/local`) extends."""
_MOST_LAYERS = 10
_SUFFIXES = (".yml", ".yaml", ".json")
_NEAR = ("parameters", "params", "catalog", "credentials", "globals")
"""Beginnings of names that are meant to be read."""


class RsiConfigLoader(OmegaConfigLoader):
    """Kedro's loader of `conf/`, with environments that extend others.

    `conf/base` comes first, then what the environment extends (`extends: scenes` in its globals.yml), then the
    environment itself, then `--params`. A section that names another `kind` than the layer below replaces it.

    Raises:
        click.UsageError: the environment is unknown, or a file is missing or broken; the command line shows its one
            line and exits with 2.
    """

    def __init__(self, conf_source: str, env: str | None = None, **options: Any) -> None:
        self._conf = Path(conf_source)
        _check_locale(self._conf)
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._names: dict[str, dict[str, list[str]]] = {}
        _check_environment(self._conf, env or str(options.get("default_run_env", "")))
        super().__init__(conf_source, env, **{**options, "ignore_hidden": False})  # which are left out here
        _check_data(self["globals"].get("data"), self._conf)

    @staticmethod
    def _initialise_filesystem_and_protocol(conf_source: str) -> tuple[Any, str]:
        found, protocol = OmegaConfigLoader._initialise_filesystem_and_protocol(conf_source)
        return (_NamedFiles() if type(found) is LocalFileSystem else found), protocol

    def __getitem__(self, key: str) -> dict[str, Any]:
        if key in self or key not in self.config_patterns:
            return super().__getitem__(key)  # set explicitly, or unknown
        self._register_runtime_params_resolver()
        merged: dict[str, Any] = {}
        for environment in self._environments():
            layer = self._layer(key, environment)
            merged = merge(merged, layer) if key in MERGED else {**merged, **layer}
        if not merged and key not in OPTIONAL:
            raise click.UsageError(f"there is no {key}.yml in {self._conf / self.base_env}; put the file back")
        if key == "parameters":
            return merge(merged, self.runtime_params or {})
        return _with_home(merged) if key in ("globals", "catalog") else merged

    def changed_parameters(self) -> dict[str, Change]:
        """Return what the default run environment (`conf/local`) and `--params` change, by the parameter's path."""
        below: dict[str, Any] = {}
        above = below
        for environment in self._environments():
            layer = self._layer("parameters", environment)
            above = merge(above, layer)
            below = below if environment == self.default_run_env else merge(below, layer)
        old, new = flat(below), flat(merge(above, self.runtime_params or {}))
        return {name: Change(new.get(name), old.get(name)) for name in sorted(new) if new[name] != old.get(name)}

    def _environments(self) -> list[str]:
        """List the layers, `base` first."""
        environment: str | None = self.env or self.default_run_env
        found: list[str] = []
        while environment and environment != self.base_env:
            if environment in found or len(found) == _MOST_LAYERS:
                raise click.UsageError(
                    f"the environments {', '.join(found)} extend each other in a circle; correct `extends` in "
                    "their globals.yml"
                )
            _check_environment(self._conf, environment)
            found.append(environment)
            below = self._read("globals", environment).get("extends")
            if below is not None and not isinstance(below, str):
                raise click.UsageError(
                    f"'extends' in the globals.yml of {environment!r} is {below!r}; name one environment"
                )
            environment = below or (DEFAULT if environment == self.default_run_env else None)
        return [self.base_env, *reversed(found)]

    def _layer(self, key: str, environment: str) -> dict[str, Any]:
        layer = self._read(key, environment)
        return {name: value for name, value in layer.items() if not name.startswith("_") and name != "extends"}

    def _read(self, key: str, environment: str) -> dict[str, Any]:
        """Return what one environment's files say; they are read once, because each key asks for the globals again."""
        if (key, environment) not in self._known:
            self._known[key, environment] = self._read_files(key, environment)
        return deepcopy(self._known[key, environment])

    def _read_files(self, key: str, environment: str) -> dict[str, Any]:
        """Read one environment's files; Kedro refuses a name that two of them have."""
        folder = self._conf / environment
        if environment not in self._names:
            self._names[environment] = _names_below(folder, self.config_patterns)
        names = self._names[environment][key]
        try:
            files = self._read_dir_configs(str(folder), names, key, set(), key == "credentials")
            merged = OmegaConf.unsafe_merge(*files.values()) if files else OmegaConf.create({})
            content = OmegaConf.to_container(merged, resolve=True)
        except (*UNREADABLE, AttributeError) as error:  # AttributeError: Kedro took a list for a mapping
            place, reason = _culprit([folder / name for name in names]) or (folder, _line(error))
            raise click.UsageError(f"the {key} in {place} cannot be read: {reason}; correct the file") from error
        return {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}


class _NamedFiles(LocalFileSystem):  # type: ignore[misc]
    """Local files, where Kedro's loader is given names in place of patterns; a name may hold `[`, `]`, `*` or `?`."""

    cachable = False

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        return [path]


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two layers at any depth; a section of another kind replaces the one below."""
    merged = dict(below)
    for name, value in above.items():
        old = below.get(name)
        same_kind = isinstance(old, Mapping) and isinstance(value, Mapping) and _kind(value, old) == _kind(old, old)
        merged[name] = merge(old, value) if same_kind else value  # type: ignore[arg-type]
    return merged


def _with_home(content: dict[str, Any]) -> dict[str, Any]:
    """Replace `~` in the folder of all datasets and in the paths of datasets, at their beginning."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            value = {key: _expanded(each) if key == "filepath" else each for key, each in value.items()}
        found[name] = _expanded(value) if name == "data" else value
    return found


def _expanded(path: Any) -> Any:
    """Return a path with `~` replaced.

    Raises:
        click.UsageError: there is no home folder.
    """
    try:
        return with_home(path) if isinstance(path, str) else path
    except InputError as error:
        raise click.UsageError(str(error)) from None


def _kind(section: Mapping[str, Any], default: Mapping[str, Any]) -> Any:
    return section.get("kind", default.get("kind"))


def environment_of(env: str | None) -> str:
    """Return the name of a run's environment: the one that is given, or the default."""
    return env or str(settings.CONFIG_LOADER_ARGS["default_run_env"])


def _check_locale(conf: Path) -> None:
    """Raise click.UsageError if the locale cannot express the folder's name, so that no library could open it."""
    try:
        str(conf.absolute()).encode()
    except UnicodeEncodeError:
        raise click.UsageError(
            f"the folder {conf.absolute()} has a name that Python cannot read in this locale; set PYTHONUTF8=1, or a "
            "locale such as LC_ALL=C.UTF-8"
        ) from None


def _check_data(data: Any, conf: Path) -> None:
    """Raise click.UsageError if there can be no folder of all datasets."""
    if not isinstance(data, str) or not data:
        raise click.UsageError(
            f"'data' in globals.yml is {data!r}; put `data: data`, the folder of all datasets, into "
            "conf/base/globals.yml"
        )
    longest = os.pathconf(conf, "PC_NAME_MAX") if conf.is_dir() else 255
    long = [part for part in Path(data).parts if len(os.fsencode(part)) > longest]
    if long:
        raise click.UsageError(
            f"'data' in globals.yml has the name {long[0][:20]}… of {len(os.fsencode(long[0]))} bytes, and the file "
            f"system allows {longest}; give a shorter one"
        )


def _check_environment(conf: Path, env: str) -> None:
    if not os.path.exists(conf) and conf.absolute() == Path.cwd() / settings.CONF_SOURCE:
        raise click.UsageError(
            f"no project is here: there is no folder {printable(str(conf))}; go to a project's folder, or make "
            "one with `rsidiff init my_project`"
        )
    if not os.path.isdir(conf):
        raise click.UsageError(
            f"--conf-source: {str(conf)!r} is no folder; give a folder like conf/. Archives and remote folders are not "
            "read, because environments extend each other: unpack or download it first"
        )
    if os.path.isdir(conf / env):  # Path.is_dir() would raise an error for what is closed to this user
        return
    try:
        if os.path.lexists(conf / env):
            os.stat(conf / env)
        known = ", ".join(sorted(path.name for path in conf.iterdir() if os.path.isdir(path)))
    except OSError as error:
        raise _closed(error) from None
    raise click.UsageError(f"there is no environment {env!r} in {conf}; there are {known}; name one of them")


def _names_below(folder: Path, patterns: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Return the names of the files below an environment's folder that count, by the key that reads them.

    Hidden names do not count, and links to folders are not followed: they may lead anywhere, also back. Warn of other
    files whose names are almost those of files that count, and of closed folders.

    Raises:
        click.UsageError: what would count cannot be read, or lies behind a link to a folder.
    """
    wanted = {key: _pattern(tuple(each)) for key, each in patterns.items()}
    found: dict[str, list[str]] = {key: [] for key in patterns}
    walked, links = [], []

    def keys_of(name: PurePath) -> list[str]:
        path = name.as_posix() if name.suffix in _SUFFIXES else ""
        return [key for key, pattern in wanted.items() if path and pattern.fullmatch(path)]

    def closed(error: OSError) -> None:
        place = Path(error.filename)
        if place == folder or keys_of(place.relative_to(folder) / "any.yml"):
            raise _closed(error)
        logger.warning("%s cannot be read (%s), so settings in it would not count", place, error.strerror)

    for place, folders, files in os.walk(folder, onerror=closed):
        below = Path(place).relative_to(folder)
        folders[:] = _shown(folders)
        walked.append(place)
        links += [Path(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
        for name in _shown(files):
            keys = keys_of(below / name)
            for key in keys:
                found[key].append(str(below / name))
            _check_file(Path(place, name), bool(keys), below == PurePath())
    for link in links:
        behind = [path for path in _listed(link, closed) if keys_of(path.relative_to(folder))]
        if behind and os.path.realpath(link) not in map(os.path.realpath, walked):
            raise click.UsageError(
                f"{link} is a link to a folder, which is not followed, so {behind[0].name} in it would not count; link "
                "the file itself, name the folder as an environment, or remove the link"
            )
    return found


@cache
def _pattern(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(glob_translate, patterns)))


def _shown(names: list[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("."))


def _listed(link: Path, closed: Callable[[OSError], None]) -> list[Path]:
    try:
        return [link / name for name in _shown(os.listdir(link))]
    except OSError as error:
        closed(error)
        return []


def _check_file(path: Path, counts: bool, on_top: bool) -> None:
    """Warn of a file that has almost the name of one that counts: parameter.yml, parameters.yml.txt.

    Raises:
        click.UsageError: a file that counts cannot be read; Kedro would leave it out without a word.
    """
    plain = path.name.lower().removesuffix(".txt")
    if counts:
        try:
            path.stat()
        except OSError as error:
            raise _closed(error) from None
    elif on_top and plain.endswith(_SUFFIXES) and get_close_matches(re.split(r"[._-]", plain)[0], _NEAR, cutoff=0.8):
        logger.warning(
            "%s is not read: names of files in conf/ begin with parameters, catalog or credentials and end with .yml, "
            "and there is one globals.yml. Rename the file, or move it elsewhere.",
            path,
        )


def _closed(error: OSError) -> click.UsageError:
    return click.UsageError(
        f"{error.filename} cannot be read ({error.strerror}), so its settings would not count; let this user read it "
        "and what its link leads to, or remove it"
    )


def _culprit(paths: list[Path]) -> tuple[Path, str] | None:
    """Return the first file that cannot be read by itself, and why; None if the files contradict each other."""
    for path in paths:
        try:
            if path.is_file() and not isinstance(OmegaConf.load(path), DictConfig):
                return path, "it is a list where `name: value` is needed"
        except UNREADABLE as error:
            return path, _line(error)
    return None


def _line(error: Exception) -> str:
    return printable(str(error))


def open_configuration(
    env: str | None = None, params: dict[str, Any] | None = None
) -> tuple[Path, AbstractConfigLoader]:
    """Return the root of the project in the working directory, and its configuration as `kedro run` reads it."""
    root = find_kedro_project(Path.cwd()) or Path.cwd()
    loader = settings.CONFIG_LOADER_CLASS(
        conf_source=str(root / settings.CONF_SOURCE),
        env=env or os.environ.get("KEDRO_ENV"),
        runtime_params=params or {},
        **settings.CONFIG_LOADER_ARGS,
    )
    return root, loader
