"""What a run would lack, found out before anything is spent."""

import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import is_offline_mode
from packaging.requirements import Requirement
from safetensors import SafetensorError

from rsidiff_kedro.configuration import open_configuration
from rsidiff_kedro.context import CHECKS, absolute_paths
from rsidiff_kedro.diffusion.backbones.folders import is_folder_name, weight_files
from rsidiff_kedro.diffusion.backbones.pipeline import find_device
from rsidiff_kedro.diffusion.footprint import (
    OPTIMIZER_BYTES,
    adapter_parameters,
    component_parameters,
    fetch_configs,
    own_resolution,
)
from rsidiff_kedro.parameters import Parameters, parse_parameters
from rsidiff_kedro.rewards import check_reward


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    fine: bool
    text: str


def examine(env: str | None = None, params: dict[str, Any] | None = None) -> list[Finding]:
    """Examine the project in the working directory under an environment and parameters as of `kedro run`."""
    findings = [*_packages()]
    root, loader = open_configuration(env, params)
    try:
        parameters = absolute_paths(parse_parameters(loader["parameters"]), root)
    except ValueError as error:
        return [*findings, Finding("parameters", False, " ".join(str(error).split()))]
    findings.append(Finding("parameters", True, f"{parameters.rounds} rounds with seed {parameters.seed}"))
    for subject, check in CHECKS.items():
        findings.extend(_rewards(parameters) if subject == "rewards" else [_looked_at(subject, check, parameters)])
    data = root / loader["globals"]["data"]
    if not all(finding.fine for finding in findings if finding.subject == "model"):
        return findings  # without the model nothing is known of weights, memory and disk
    try:
        folder = fetch_configs(parameters.model)
        return [*findings, *_weights(parameters, folder), *_memory(parameters, folder), _disk(parameters, folder, data)]
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        return [*findings, Finding("weights, memory, disk", False, f"the model's files cannot be read ({reason})")]


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def _packages() -> Iterator[Finding]:
    """Whether what pyproject.toml asks for is installed."""
    wrong = []
    for line in importlib.metadata.requires("rsidiff_kedro") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name}{wanted.specifier} is not installed")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} is {version}, {wanted.specifier} is needed")
    text = "; ".join(wrong) + "; run `make .venv/.installed`" if wrong else f"torch {torch.__version__} and the others"
    yield Finding("packages", not wrong, text)


def _looked_at(subject: str, check: Callable[[Parameters], None], parameters: Parameters) -> Finding:
    try:
        check(parameters)
    except ValueError as error:
        return Finding(subject, False, " ".join(str(error).split()))
    return Finding(subject, True, _summary(subject, parameters))


def _rewards(parameters: Parameters) -> Iterator[Finding]:
    """Each preference model and embedding that a run opens, not only the first that is missing."""
    for name in sorted(parameters.reward_names | parameters.features_names):
        options = parameters.rewards.options(name)
        try:
            check_reward(name, **options)
        except ValueError as error:
            yield Finding(f"reward: {name}", False, " ".join(str(error).split()))
            continue
        yield Finding(f"reward: {name}", True, _place(options["checkpoint"]) if options else "comes with the package")


def _place(checkpoint: str) -> str:
    """A checkpoint with its size, if it lies on this machine."""
    size = _bytes_of(Path(checkpoint))
    return f"{checkpoint}, {_size(size)}" if size else checkpoint


def _bytes_of(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def _summary(subject: str, parameters: Parameters) -> str:
    curation = parameters.prompt_curation
    return {
        "prompts": f"{curation.source.kind}; a pool of {curation.pool_size}, {curation.prompts_per_round} a round",
        "model": f"{parameters.model.family}, {parameters.model.base}, revision {parameters.model.revision}",
    }.get(subject, "")


def _weights(parameters: Parameters, folder: Path) -> Iterator[Finding]:
    for name, count in component_parameters(folder, parameters.model).items():
        subject, place = f"weights: {name}", folder / name
        if count:
            size = sum(path.stat().st_size for path in weight_files(place))
            yield Finding(subject, True, f"{count / 1e6:,.1f} M parameters, {_size(size)}, {place}")
        elif is_folder_name(parameters.model.base) or is_offline_mode():
            yield Finding(subject, False, f"no safetensors in {place}")
        else:
            yield Finding(subject, True, f"not downloaded yet from {parameters.model.base}; the first node does")


def _memory(parameters: Parameters, folder: Path) -> Iterator[Finding]:
    """The weights that each stage holds; activations come on top, and grow with micro_batch_size and resolution."""
    device, dtype = find_device(parameters.model.device), parameters.model.dtype
    if device.type == "cuda" and dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        yield Finding("device", False, f"{torch.cuda.get_device_name()} has no bfloat16; set model.dtype=float32")
    else:
        yield Finding("device", True, f"{'no GPU was found: ' if device.type == 'cpu' else ''}{device.type}, {dtype}")
    total = _device_memory(device)
    width = 4 if dtype == "float32" else 2
    bytes_of = {name: count * width for name, count in component_parameters(folder, parameters.model).items()}
    denoiser = bytes_of.get("unet", 0) + bytes_of.get("transformer", 0)
    trained = adapter_parameters(folder, parameters.model, parameters.finetune)
    stages = {
        "synthesis, evaluation": sum(bytes_of.values()),
        # All of the model is opened before text encoders and autoencoder are freed.
        "finetune": max(sum(bytes_of.values()), denoiser + trained * OPTIMIZER_BYTES),
    }
    for name in sorted(parameters.reward_names | parameters.features_names):
        checkpoint = parameters.rewards.options(name).get("checkpoint")
        size = _bytes_of(Path(str(checkpoint))) if checkpoint else 0
        stages |= {f"scoring by {name}": size} if size else {}
    for stage, needed in stages.items():
        text = f"{_size(needed)} of weights, and activations, of {_size(total)} ({device.type})"
        yield Finding(f"memory: {stage}", needed < total, text)


def _device_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _disk(parameters: Parameters, folder: Path, data: Path) -> Finding:
    """What a whole run writes: PNG files, at three bytes a pixel, latents, and adapters."""
    curation, evaluation, rounds = parameters.prompt_curation, parameters.evaluation, parameters.rounds
    drawn = curation.prompts_per_round * parameters.synthesis.samples_per_prompt
    evaluated = (
        curation.test_size * evaluation.samples_per_prompt
        + curation.validation_size * evaluation.validation_samples_per_prompt
    )
    candidates = getattr(curation.source, "count", None) or getattr(curation.source, "limit", None)
    probed = (candidates or 2 * curation.pool_size) * curation.probe.samples_per_prompt * curation.enabled
    window, base = parameters.finetune.replay_rounds + 1, parameters.finetune.replay_base
    replayed = sum(min(number, window) + (base and number > window) for number in range(1, rounds + 1))
    kept = curation.prompts_per_round * parameters.preference_selection.keep_per_prompt
    images = probed + rounds * drawn + (rounds + 1) * evaluated + replayed * kept
    side = parameters.model.resolution or own_resolution(folder, parameters.model)
    trained = adapter_parameters(folder, parameters.model, parameters.finetune)
    needed = images * side * side * 4 + 2 * rounds * trained * 4
    existing = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    text = f"about {_size(needed)} for {images} images of {side} pixels a side, {_size(free)} free in {data}"
    return Finding("disk", needed < free, text)
