"""Fine-tune a LoRA adapter on weighted latents and the conditioning of their prompts."""

import logging
import math
from collections import Counter
from pathlib import Path

import pandas as pd
import torch

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.bases import base_record
from rsidiff_kedro.diffusion.data_parallel import DataParallel, Training
from rsidiff_kedro.diffusion.lora import with_lora_of
from rsidiff_kedro.diffusion.model import DiffusionModel
from rsidiff_kedro.diffusion.opening import empty_denoiser, family_of, load_model
from rsidiff_kedro.diffusion.replica import Plan, Replica, TrainingRows
from rsidiff_kedro.diffusion.settings import FinetuneSettings, LoraSettings, ModelSettings
from rsidiff_kedro.diffusion.training_state import saved_steps
from rsidiff_kedro.execution.engine import ATTEMPTS, ExecutionError, WorkerLost, current_engine
from rsidiff_kedro.execution.progress import progress_bar

logger = logging.getLogger(__name__)


class TrainingError(InputError):
    """Fine-tuning cannot continue; the message says what to change."""


def initial_adapter(model: DiffusionModel, settings: LoraSettings, seed: int) -> Adapter:
    """Return a fresh adapter that changes nothing yet: with it the model generates as the base does."""
    torch.manual_seed(seed)
    model.add_adapter(settings)
    info = {**base_record(model.base, model.revision), "round": 0, "parent": None, "seed": seed}
    return Adapter(model.export_adapter(), info | settings.record)


def finetune(
    model: DiffusionModel | ModelSettings,
    parent: Adapter,
    training_set: TrainingSet,
    settings: FinetuneSettings,
    seed: int,
    round_number: int,
    unfinished: Path | None = None,
) -> tuple[Adapter, pd.DataFrame]:
    """Train the parent adapter, or a fresh one if `adapter: restart`, on a training set.

    Args:
        model: settings may be opened by the workers of the run's engine; an opened model trains here.
        settings: whose rank, layers and scale do not count if the parent goes on with others; a warning says so.
        unfinished: a folder that keeps the training's state every `checkpoint_every` steps; a later call continues
            from it.

    Returns:
        The adapter, whose record holds the settings that counted, and a table with the columns step, loss (weighted,
        of one batch) and learning_rate.

    Raises:
        TrainingError: the training set is empty, or the loss is not finite.
    """
    if len(training_set) == 0:
        raise TrainingError(
            f"round {round_number} has no images to train on; keep more in preference_selection "
            "(raise max_gap, lower min_margin or the floors, raise keep_per_prompt)"
        )
    checkpoint = unfinished / "training.safetensors" if unfinished else None
    base = base_record(model.base, model.revision)
    if isinstance(model, ModelSettings) and (checkpoint is None or current_engine().replicas is None):
        model = load_model(model)
    if settings.adapter == "continue":
        settings = _as_the_parent(settings, parent, model, round_number)
    plan, rows = Plan(settings, seed, round_number), TrainingRows.of(training_set)
    trained, losses = _train_somewhere(model, parent, rows, plan, checkpoint)
    record = {"images": len(training_set), "finetune": settings.model_dump()}
    info = {**base, **trained.info, "round": round_number, "parent": parent.digest, "seed": seed, **record}
    log = {"step": range(settings.steps), "loss": losses, "learning_rate": settings.learning_rate}
    return Adapter(trained.weights, info), pd.DataFrame(log)


def _as_the_parent(
    settings: FinetuneSettings, parent: Adapter, model: DiffusionModel | ModelSettings, round_number: int
) -> FinetuneSettings:
    """Return the settings with the parent's LoRA, which training goes on with; warn if others were given."""
    if isinstance(model, DiffusionModel):
        kept = with_lora_of(parent, settings, model.denoiser, model.lora_targets)
    else:
        kept = with_lora_of(parent, settings, empty_denoiser(model), family_of(model).lora_targets)
    pairs = ((name, getattr(kept, name), getattr(settings, name)) for name in LoraSettings.model_fields)
    changed = [f"finetune.{name} is {has!s:.60}, not {given!s:.60}" for name, has, given in pairs if has != given]
    if changed:
        logger.warning(
            "round %d goes on with its parent's LoRA: %s; to change it, run all rounds again, or set "
            "finetune.adapter=restart",
            round_number,
            ", ".join(changed),
        )
    return kept


Trained = tuple[Adapter, list[float]]
"""An adapter, and the loss of each step."""


def _train_somewhere(
    model: DiffusionModel | ModelSettings, parent: Adapter, rows: TrainingRows, plan: Plan, checkpoint: Path | None
) -> Trained:
    """Train an opened model here, else in workers, and there again from the last checkpoint if one is lost."""
    open_replicas = current_engine().replicas
    if isinstance(model, ModelSettings):
        assert checkpoint is not None and open_replicas is not None
        training = Training.write(model, parent, rows, plan, checkpoint)
        lost = Counter[int]()
        while True:
            try:
                trainer = DataParallel(open_replicas(training, plan.micro_batches), plan)
                return _train(trainer, plan, checkpoint)
            except WorkerLost as error:
                finished = saved_steps(checkpoint)
                lost[finished] += 1
                if lost[finished] == ATTEMPTS:
                    raise ExecutionError(
                        f"training has ended {ATTEMPTS} workers after step {finished}, as the system does when memory "
                        f"runs out ({error}); lower finetune.micro_batch_size or execution.workers, and continue with "
                        "--only-missing-outputs"
                    ) from error
                logger.warning("a training worker was lost; all go on from step %d", finished)
    return _train(Replica(model, parent, rows, plan, checkpoint), plan, checkpoint)


def _train(trainer: Replica | DataParallel, plan: Plan, checkpoint: Path | None) -> Trained:
    settings, start, losses = plan.settings, trainer.start(), list[float]()
    steps = range(start, settings.steps)
    for step in progress_bar("fine-tuning", steps, initial=start, total=settings.steps, unit="step"):
        loss = sum(trainer.backward(step))
        if not math.isfinite(loss):
            raise TrainingError(
                f"round {plan.round_number}: the loss is {loss} at step {step}; lower finetune.learning_rate (now "
                f"{settings.learning_rate}); the last round's adapter is kept"
            )
        trainer.update()
        losses.append(loss)
        if checkpoint and (step + 1) % settings.checkpoint_every == 0:
            trainer.save(losses)
    return trainer.finish(losses)
