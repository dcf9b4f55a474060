"""Generate the same prompts from the same noise with several adapters."""

from collections.abc import Mapping, Sequence

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.devices import free_memory
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings

PURPOSE = "sample"
"""Part of the seeds, so these images share no noise with those of a run."""


def sample_side_by_side(
    adapters: Mapping[str, Adapter | None],
    prompts: Sequence[str],
    samples_per_prompt: int,
    model: ModelSettings,
    sampler: SamplerSettings,
    seed: int,
) -> dict[str, ImageSet]:
    """Return the images of each adapter, by its name: `samples_per_prompt` of each prompt, in the prompts' order.

    Args:
        adapters: by name; None is the base model.
        prompts: texts.
        samples_per_prompt: images of each.
        model: the base model, which is opened once per adapter, because an adapter may be fused into it.
        sampler: of all images; a micro-batch is no larger than the number of images.
        seed: all images of one prompt and index have the same noise.
    """
    table = prompt_table(prompts, "command line")
    size = min(sampler.micro_batch_size, len(table) * samples_per_prompt)
    sampler = sampler.model_copy(update={"micro_batch_size": size})
    made: dict[str, ImageSet] = {}
    for name, adapter in adapters.items():
        free_memory()  # of the model before
        made[name] = sample_images(
            load_model(model), adapter, table, samples_per_prompt, sampler, seed, PURPOSE, f"generating: {name}"
        )
    return made
