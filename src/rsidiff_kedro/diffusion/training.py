"""Fine-tunes a LoRA adapter on weighted images, from their latents and text embeddings."""

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from rsidiff_kedro.diffusion.adapters import Adapter
from rsidiff_kedro.diffusion.backbones import Backbone
from rsidiff_kedro.diffusion.image_set import ImageSet
from rsidiff_kedro.diffusion.settings import FinetuneSettings
from rsidiff_kedro.errors import InputError


class TrainingError(InputError):
    """Fine-tuning cannot go on; the message says what to change."""


def initial_adapter(backbone: Backbone, settings: FinetuneSettings, seed: int) -> Adapter:
    """A fresh adapter that changes nothing yet: with it the base model draws as without it."""
    torch.manual_seed(seed)
    backbone.add_adapter(settings.rank, settings.layers)
    return Adapter(backbone.export_adapter(), {"base_model": backbone.name, "round": 0, "parent": None, "seed": seed})


def finetune(
    backbone: Backbone,
    parent: Adapter,
    training_set: ImageSet,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
) -> tuple[Adapter, pd.DataFrame]:
    """Train the parent adapter (or a fresh one, `adapter: restart`) on a training set.

    Args:
        training_set: with latents, and in its metadata a `weight` (0 or more) that multiplies each image's loss.

    Returns:
        The adapter, and a table with the columns step, loss (weighted, of one batch) and learning_rate.

    Raises:
        TrainingError: the training set is empty or has no latents, or the loss is not finite.
    """
    if len(training_set) == 0 or training_set.latents is None:
        raise TrainingError(
            f"round {round_number} has no images to train on; keep more in preference_selection "
            "(lower min_margin or the floors, raise keep_per_prompt)"
        )
    torch.manual_seed(seed * 1_000_003 + round_number)
    if settings.adapter == "continue":
        backbone.load_adapter(parent, trainable=True)
    else:
        backbone.add_adapter(settings.rank, settings.layers)
    log = _train(backbone, training_set, settings, seed, round_number)
    info = {
        "base_model": backbone.name,
        "round": round_number,
        "parent": parent.digest,
        "seed": seed,
        "images": len(training_set),
        "finetune": settings.model_dump(),
    }
    return Adapter(backbone.export_adapter(), info), log


def _train(
    backbone: Backbone, training_set: ImageSet, settings: FinetuneSettings, seed: int, round_number: int
) -> pd.DataFrame:
    parameters = [parameter for parameter in backbone.denoiser.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-4)
    average = [parameter.detach().clone() for parameter in parameters]
    texts = list(training_set.metadata["text"])
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    embeddings = torch.cat([backbone.encode_prompts([text]) for text in distinct])
    empty = backbone.encode_prompts([""])
    weights = torch.tensor(training_set.metadata["weight"].to_numpy(np.float32))
    latents: torch.Tensor = training_set.latents  # type: ignore[assignment]
    text_rows = torch.tensor([distinct[text] for text in texts])
    order = _sample_order(len(texts), settings.steps * settings.batch_size, seed, round_number)
    losses = []
    backbone.denoiser.train()
    for step in tqdm(range(settings.steps), desc=f"round {round_number}: fine-tuning", unit="step"):
        chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size]
        generator = torch.Generator().manual_seed((seed * 1009 + round_number) * 1_000_003 + step)
        dropped = torch.rand(len(chosen), generator=generator) < settings.condition_dropout
        condition = embeddings[text_rows[chosen]]
        condition = torch.where(dropped.to(condition.device)[:, None, None], empty, condition)
        clear = latents[chosen].to(backbone.device, condition.dtype)
        each = backbone.training_loss(clear, condition, generator, settings.min_snr_gamma)
        loss = (each * weights[chosen].to(each.device)).mean()
        _check_finite(loss.item(), step, round_number, settings)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        torch._foreach_lerp_(average, [value.detach() for value in parameters], 1 - settings.ema_decay)
        losses.append((step, loss.item(), settings.learning_rate))
    backbone.denoiser.eval()
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    return pd.DataFrame(losses, columns=["step", "loss", "learning_rate"])


def _sample_order(count: int, needed: int, seed: int, round_number: int) -> torch.Tensor:
    """Positions in the training set: each once before any comes twice."""
    generator = torch.Generator().manual_seed(seed * 1009 + round_number)
    epochs = -(-needed // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(epochs)])[:needed]


def _check_finite(loss: float, step: int, round_number: int, settings: FinetuneSettings) -> None:
    if not np.isfinite(loss):
        raise TrainingError(
            f"round {round_number}: the loss is {loss} at step {step}; "
            f"lower finetune.learning_rate (now {settings.learning_rate}); the last round's adapter is kept"
        )
