"""The Kedro context of this project: checks everything before anything is spent, and sets the number of rounds."""

from collections.abc import Callable
from pathlib import Path

import click
from attrs import define
from kedro.framework.context import KedroContext

from rsidiff_kedro import pipeline_registry
from rsidiff_kedro.diffusion.backbones import check_denoiser, check_finetune, check_model
from rsidiff_kedro.parameters import ParameterError, Parameters, parse_parameters
from rsidiff_kedro.pipelines.evaluation.judging import is_caption
from rsidiff_kedro.prompts.sources import GrammarSource, collect_prompts
from rsidiff_kedro.rewards import check_reward, features_names, reward_names


@define(slots=False)
class RsiContext(KedroContext):
    """Validates the whole tree of parameters and registers as many rounds as they ask for.

    Works wherever Kedro makes a context: `kedro run`, `kedro viz run`, `python -m rsidiff_kedro`, notebooks.

    Raises:
        click.UsageError: a parameter, the prompts or the model is no good; the command line shows the one line of
            its message and exits with 2.
    """

    def __attrs_post_init__(self) -> None:
        try:
            parameters = parse_parameters(self.config_loader["parameters"])
            parameters = absolute_paths(parameters, self.project_path)
            for check in CHECKS.values():
                check(parameters)
        except ValueError as error:
            raise click.UsageError(" ".join(str(error).split())) from error
        # Nodes get what was validated, defaults filled in, and not what was typed.
        self.config_loader["parameters"] = parameters.model_dump()
        pipeline_registry.set_rounds(parameters.rounds)


def absolute_paths(parameters: Parameters, project_path: Path) -> Parameters:
    """Relative paths of what a user gives are relative to the project, as the catalog's are."""
    curation = parameters.prompt_curation
    sources = {"source": curation.source, "evaluation_source": curation.evaluation_source}
    absolute = {name: source and source.within(project_path) for name, source in sources.items()}
    rewards = parameters.rewards.within(project_path)
    sft = parameters.sft.model_copy(update={"images": project_path / parameters.sft.images.expanduser()})
    return parameters.model_copy(
        update={"prompt_curation": curation.model_copy(update=absolute), "rewards": rewards, "sft": sft}
    )


def _check_rewards(parameters: Parameters) -> None:
    """Whether the preference models and embeddings of images exist, with checkpoints that fit them.

    Raises:
        ParameterError: a name is unknown.
        CheckpointError: a checkpoint or tokenizer is missing or broken.
    """
    wanted = (
        ("reward", parameters.reward_names, reward_names()),
        ("features", parameters.features_names, features_names()),
    )
    for kind, names, known in wanted:
        unknown = sorted(names - set(known))
        if unknown:
            raise ParameterError(f"unknown {kind} {unknown[0]!r}; there are {', '.join(known)}")
    for name in sorted(parameters.reward_names | parameters.features_names):
        check_reward(name, **parameters.rewards.options(name))


def _check_prompts(parameters: Parameters) -> None:
    """Whether the prompts can be collected, suffice, and can be judged, as far as that costs nothing.

    Raises:
        ParameterError: they cannot; or what collecting them raises.
    """
    curation = parameters.prompt_curation
    sources = [source for source in (curation.source, curation.evaluation_source) if source]
    if any(source.costs for source in sources):
        for source in sources:
            source.check(parameters.seed)
        return
    prompts = collect_prompts(curation.source, curation.evaluation_source, parameters.seed)
    if all(isinstance(source, GrammarSource) for source in sources):
        return
    prompts = prompts.drop_duplicates(["split", "prompt_id"])
    held_out = prompts["split"] == "evaluation"
    curation.check_counts(int((~held_out).sum()), int(held_out.sum()))
    readable = prompts["text"].map(is_caption)
    if "oracle" in parameters.reward_names and not readable.all():
        raise ParameterError(
            f"the reward 'oracle' reads captions of the scenes grammar alone, which "
            f"{prompts['text'][~readable].iloc[0][:60]!r} is not; select by another reward"
        )
    judged = prompts[held_out] if held_out.any() else prompts
    if parameters.evaluation.judge == "scenes" and not readable[judged.index].any():
        raise ParameterError(
            "evaluation.judge is 'scenes', which reads captions of the scenes grammar, but no prompt is one (the "
            f"first: {judged['text'].iloc[0][:60]!r}); set evaluation.judge=null"
        )


def _check_model(parameters: Parameters) -> None:
    check_model(parameters.model)
    check_denoiser(parameters.model)
    check_finetune(parameters.model, parameters.finetune)


CHECKS: dict[str, Callable[[Parameters], None]] = {
    "rewards": _check_rewards,
    "prompts": _check_prompts,
    "model": _check_model,
}
"""What is looked at before the first node, by what it is about; each raises a ValueError of one line."""
