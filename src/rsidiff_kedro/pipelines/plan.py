"""Estimate what a run of the whole method needs, before it starts."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsidiff_kedro.core.files import size_of, size_text
from rsidiff_kedro.diffusion import footprint
from rsidiff_kedro.diffusion.opening import family_of
from rsidiff_kedro.diffusion.quantization import BYTES
from rsidiff_kedro.diffusion.settings import find_device
from rsidiff_kedro.diffusion.timing import Speed
from rsidiff_kedro.evaluation.settings import rounds_to_test
from rsidiff_kedro.method.settings import SynthesisSettings
from rsidiff_kedro.reporting.values import duration

if TYPE_CHECKING:
    from rsidiff_kedro.parameters import Parameters


@dataclass(frozen=True)
class Counts:
    """Numbers of images that a run generates, and of latents that its training sets hold."""

    probed: int
    generated: int
    evaluated: int
    replayed: int

    @property
    def images(self) -> int:
        """Return the number of all images."""
        return self.probed + self.generated + self.evaluated


def count_images(parameters: "Parameters") -> Counts:
    """Count the images of a whole run; the prompts that the filters will drop are not known yet."""
    curation, rounds = parameters.prompt_curation, parameters.rounds
    tested = curation.test_size * parameters.evaluation.samples_per_prompt
    validated = curation.validation_size * parameters.gate.samples_per_prompt
    given = curation.source.expected or getattr(curation.source, "limit", None)
    separate = curation.evaluation_source is not None or curation.source.expected_evaluation is not None
    held_out = 0 if separate else curation.validation_size + curation.test_size
    candidates = max(0, given - held_out) if given else 2 * curation.pool_size
    window, base = parameters.replay.rounds + 1, parameters.replay.base
    sets = sum(min(number, window) + (base and number > window) for number in range(1, rounds + 1))
    return Counts(
        probed=candidates * curation.probe.samples_per_prompt * curation.enabled,
        generated=rounds * curation.prompts_per_round * parameters.synthesis.samples_per_prompt,
        evaluated=len(rounds_to_test(rounds, parameters.evaluation.test_every)) * tested + (rounds + 1) * validated,
        replayed=sets * curation.prompts_per_round * parameters.preference_selection.keep_per_prompt,
    )


def trained_parameters(parameters: "Parameters", folder: Path) -> int:
    """Count the numbers in the adapter of a model in this folder."""
    return footprint.adapter_parameters(folder, parameters.model, parameters.finetune)


def image_side(parameters: "Parameters", folder: Path) -> int:
    """Return the pixels per side of an image."""
    return parameters.model.resolution or footprint.own_resolution(folder, parameters.model)


def disk_bytes(parameters: "Parameters", folder: Path) -> int:
    """Estimate what a whole run writes: PNG files, at three bytes per pixel, latents, and adapters."""
    counts, side = count_images(parameters), image_side(parameters, folder)
    adapters = 2 * parameters.rounds * trained_parameters(parameters, folder) * 4
    # latents take about a byte per pixel; training sets are latents only
    return (counts.images * 4 + counts.replayed) * side * side + adapters


def free_bytes(data: Path) -> int:
    """Return the free space where a data folder is or will be."""
    return shutil.disk_usage(next(path for path in (data, *data.parents) if path.exists())).free


def held_bytes(parameters: "Parameters", folder: Path) -> dict[str, int]:
    """Estimate the weights that each stage holds; activations grow with micro_batch_size and resolution."""
    width = 4 if parameters.model.dtype == "float32" else 2
    counts = footprint.component_parameters(folder, parameters.model)
    family = family_of(parameters.model)
    kind, few = parameters.model.text_encoder_quantization, family.quantizable(parameters.model)
    small = BYTES.get(kind or "", width)
    model = int(sum(count * (small if name in few else width) for name, count in counts.items()))
    denoiser = counts.get(family.denoiser_name, 0)
    trained = trained_parameters(parameters, folder) * footprint.OPTIMIZER_BYTES
    # The whole model is opened before text encoders and autoencoder are freed.
    finetune = max(model, denoiser * width + trained)
    early = parameters.synthesis.early_dropping
    if early is None:
        held = {"synthesis, gate, evaluation": model, "finetune": finetune}
    else:  # the reward of early dropping is open beside the model
        synthesis = model + _checkpoint_bytes(parameters, early.reward)
        held = {"synthesis": synthesis, "gate, evaluation": model, "finetune": finetune}
    for name in sorted(parameters.reward_names | {parameters.weighting.features, parameters.evaluation.features}):
        if size := _checkpoint_bytes(parameters, name):
            held[f"scoring by {name}"] = size
    return held


def _checkpoint_bytes(parameters: "Parameters", name: str) -> int:
    """Return the size of a preference model's checkpoint; 0 if it has none on disk."""
    checkpoint = parameters.rewards.options(name).get("checkpoint")
    return size_of(Path(str(checkpoint))) if checkpoint else 0


def run_seconds(parameters: "Parameters", speed: Speed) -> float:
    """Estimate the time of generating and training; scoring and reports are left out."""
    counts, curation = count_images(parameters), parameters.prompt_curation
    image_steps = (
        counts.probed * curation.probe.sampler.num_inference_steps
        + counts.generated * _mean_steps(parameters.synthesis)
        + counts.evaluated * parameters.sampler.num_inference_steps
    )
    trained = parameters.rounds * parameters.finetune.steps * parameters.finetune.batch_size
    return image_steps * speed.image_step + counts.images * speed.image + trained * speed.trained_image


def _mean_steps(synthesis: SynthesisSettings) -> float:
    """Return the denoising steps per sample, of which early dropping leaves out some."""
    steps, samples, given = (
        synthesis.sampler.num_inference_steps,
        synthesis.samples_per_prompt,
        synthesis.early_dropping,
    )
    return steps if given is None else steps - (steps - given.after) * (samples // 2) / samples


def plan_lines(parameters: "Parameters", folder: Path, data: Path, speed: Speed | None = None) -> list[str]:
    """Say in three lines what a whole run needs; without `speed`, how to have the time measured."""
    counts, settings = count_images(parameters), parameters.finetune
    device, side = find_device(parameters.model.device).type, image_side(parameters, folder)
    time = "`kedro rsi plan` measures it"
    if speed is not None:
        time = f"about {duration(run_seconds(parameters, speed))} of generating and training; scoring comes on top"
    rounds = "1 round" if parameters.rounds == 1 else f"{parameters.rounds} rounds"
    return [
        f"Plan: {rounds} on {device} in {parameters.model.dtype}; {counts.images:,} images of {side} "
        f"pixels per side, {parameters.rounds * settings.steps:,} training steps of {settings.batch_size} images",
        f"Disk: about {size_text(disk_bytes(parameters, folder))}, {size_text(free_bytes(data))} free. Memory: "
        f"{size_text(max(held_bytes(parameters, folder).values()))} of weights, and activations",
        f"Time: {time}",
    ]
