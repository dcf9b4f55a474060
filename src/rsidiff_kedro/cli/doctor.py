"""Define the command `kedro rsi doctor`, which finds out what a run would lack before it costs anything."""

import importlib.metadata
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path
from typing import Any

import click
import torch
from huggingface_hub import is_offline_mode
from kedro.io import DatasetError
from kedro.io.catalog_config_resolver import DEFAULT_RUNTIME_PATTERN, CatalogConfigResolver
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from packaging.requirements import Requirement
from safetensors import SafetensorError

from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import open_catalog
from rsidiff_kedro.core.devices import computes_on_gpu
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import check_writable, size_text
from rsidiff_kedro.core.locations import check_home, is_path
from rsidiff_kedro.core.untrusted.text import shown_address
from rsidiff_kedro.datasets.runs import catalog_config
from rsidiff_kedro.diffusion import footprint
from rsidiff_kedro.diffusion.settings import find_device
from rsidiff_kedro.evaluation.settings import rounds_to_test
from rsidiff_kedro.execution.engine import ExecutionError
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.hooks.mlflow_store import check_writable_store, read_settings
from rsidiff_kedro.parameters import Parameters, parse_parameters
from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.pipelines.plan import count_images, disk_bytes, free_bytes, held_bytes, image_side
from rsidiff_kedro.pipelines.stage import METHOD, Place, compose
from rsidiff_kedro.provenance.retention import RECORDS, UNFINISHED


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    fine: bool
    text: str


@click.command()
@env_option
@params_option
def doctor(env: str | None, params: dict[str, Any]) -> None:
    """Say what a run would lack: packages, parameters, folders, prompts, weights, disk, memory. Computes nothing.

    Exits with 1 if something is missing.
    """
    findings = examine(env, params)
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        mark = click.style("ok     ", fg="green") if finding.fine else click.style("MISSING", fg="red")
        click.echo(f"{mark}  {finding.subject:<{width}}  {finding.text}")
    missing = sum(not finding.fine for finding in findings)
    click.echo(f"\n{missing} missing" if missing else "\nNothing is missing.")
    sys.exit(1 if missing else 0)


def examine(env: str | None, params: dict[str, Any]) -> list[Finding]:
    """Examine the project in the working directory under an environment and parameters, as in `kedro run`."""
    findings = [_packages()]
    root, loader = open_configuration(env, params)
    try:
        parameters = parse_parameters(loader["parameters"]).within(root)
    except ValueError as error:
        return [*findings, Finding("parameters", False, _line(error))]
    findings.append(Finding("parameters", True, f"{parameters.rounds} rounds with seed {parameters.seed}"))
    findings += _requirements(parameters)
    data = root / loader["globals"]["data"]
    tested = rounds_to_test(parameters.rounds, parameters.evaluation.test_every)
    method = compose(stages(), parameters.rounds, tested)[METHOD]
    findings += [_catalog(method, root, loader), _folders(method, root, loader), _tracking(root, loader)]
    findings += _cluster(parameters, data)
    if not all(finding.fine for finding in findings if finding.subject == "model"):
        return findings  # without the model nothing is known of weights, memory and disk
    try:
        folder = footprint.fetch_configs(parameters.model)
        return [*findings, *_weights(parameters, folder), *_memory(parameters, folder), _disk(parameters, folder, data)]
    except (OSError, ValueError, SafetensorError) as error:
        text = f"the model's files cannot be read ({_line(error)[:300]})"
        return [*findings, Finding("weights, memory, disk", False, text)]


def _cluster(parameters: Parameters, data: Path) -> Iterator[Finding]:
    """Examine every machine that the engine would use, if that is Ray; starts it for that."""
    if parameters.execution.engine != "ray":
        return
    from rsidiff_kedro.execution.ray_nodes import examine_cluster  # Ray takes seconds to import

    on_gpu = computes_on_gpu(parameters.model.device)
    try:
        for finding in examine_cluster(parameters.execution, data, on_gpu):
            yield Finding(*finding)
    except ExecutionError as error:
        yield Finding("execution", False, _line(error))


def _catalog(method: Pipeline, root: Path, loader: Mapping[str, Any]) -> Finding:
    """Check that each dataset of a run can be made, as its type's library is installed; nothing is read."""
    names = sorted(filterfalse(is_parameter, method.datasets()))
    try:
        catalog = open_catalog(root, loader)
        for name in names:
            catalog.get(name)
    except (InputError, DatasetError) as error:
        return Finding("catalog", False, _line(error))
    return Finding("catalog", True, f"{len(names)} datasets")


def _folders(method: Pipeline, root: Path, loader: Mapping[str, Any]) -> Finding:
    """Check that each folder can be written in which a run saves a dataset, a record or unfinished work."""
    data = root / loader["globals"]["data"]
    try:
        catalog = CatalogConfigResolver(catalog_config(root, loader), default_runtime_patterns=DEFAULT_RUNTIME_PATTERN)
        saved = [catalog.resolve_pattern(name).get("filepath") for name in sorted(method.all_outputs())]
        paths = [data / RECORDS, data / UNFINISHED, *map(Path, filter(None, saved))]
        for folder in {next(each for each in (path, *path.parents) if each.is_dir()) for path in paths}:
            check_writable(folder)
    except InputError as error:
        return Finding("folders", False, _line(error))
    return Finding("folders", True, f"a run can save in {data}")


def _tracking(root: Path, loader: Mapping[str, Any]) -> Finding:
    """Check the settings of MLflow, and that a store on this machine can be written; no server is asked."""
    try:
        settings = read_settings(loader["mlflow"])
        if not settings.enabled:
            return Finding("MLflow", True, "off")
        check_home("MLflow")
        uri = settings.absolute_uri(root)
        check_writable_store(uri)
    except InputError as error:
        return Finding("MLflow", False, _line(error))
    return Finding("MLflow", True, shown_address(uri))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _packages() -> Finding:
    """Check that the dependencies in pyproject.toml are installed."""
    wrong = []
    for wanted in map(Requirement, importlib.metadata.requires("rsidiff_kedro") or []):
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name}{wanted.specifier} is not installed")
        else:
            if not wanted.specifier.contains(version, prereleases=True):
                wrong.append(f"{wanted.name} is {version}, {wanted.specifier} is needed")
    if wrong:
        return Finding("packages", False, "; ".join([*wrong, "install them (in a clone: `make .venv/.installed`)"]))
    return Finding("packages", True, f"torch {importlib.metadata.version('torch')} and the others")


def _requirements(parameters: Parameters) -> Iterator[Finding]:
    """Check the requirements of all stages of the method, also after one that is not met."""
    method = [stage for stage in stages() if stage.place is not Place.APART]
    for requirement in dict.fromkeys(each for stage in method for each in stage.requires(parameters)):
        try:
            yield Finding(requirement.subject, True, requirement.check())
        except (OSError, ValueError) as error:
            yield Finding(requirement.subject, False, _line(error))


def _weights(parameters: Parameters, folder: Path) -> Iterator[Finding]:
    sizes = footprint.component_bytes(folder, parameters.model)
    for name, count in footprint.component_parameters(folder, parameters.model).items():
        place = folder / name
        text = f"no safetensors in {place}"
        if count:
            text = f"{count / 1e6:,.1f} M parameters, {size_text(sizes[name])}, {place}"
        local = is_path(parameters.model.base) or is_offline_mode()
        if not count and not local:
            text = f"not downloaded yet from {parameters.model.base}; the first node does it"
        yield Finding(f"weights: {name}", bool(count) or not local, text)


def _memory(parameters: Parameters, folder: Path) -> Iterator[Finding]:
    """Estimate the weights that each stage holds; activations grow with micro_batch_size and resolution."""
    device, dtype = find_device(parameters.model.device), parameters.model.dtype
    if device.type == "cuda" and dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        yield Finding("device", False, f"{torch.cuda.get_device_name()} has no bfloat16; set model.dtype=float32")
    else:
        yield Finding("device", True, f"{'no GPU was found: ' if device.type == 'cpu' else ''}{device.type}, {dtype}")
    total = _device_memory(device)
    for stage, needed in held_bytes(parameters, folder).items():
        text = f"{size_text(needed)} of weights, and activations, of {size_text(total)} ({device.type})"
        yield Finding(f"memory: {stage}", needed < total, text)


def _device_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _disk(parameters: Parameters, folder: Path, data: Path) -> Finding:
    images, side = count_images(parameters).images, image_side(parameters, folder)
    needed, free = disk_bytes(parameters, folder), free_bytes(data)
    text = f"about {size_text(needed)} for {images} images of {side} pixels per side, {size_text(free)} free in {data}"
    return Finding("disk", needed < free, text)
