"""The Kedro context of this project: checks everything before anything is spent, and sets the number of rounds."""

from pathlib import Path

import click
from attrs import define
from kedro.framework.context import KedroContext

from rsidiff_kedro import pipeline_registry
from rsidiff_kedro.diffusion.backbones import check_model
from rsidiff_kedro.parameters import ParameterError, Parameters, parse_parameters
from rsidiff_kedro.pipelines.evaluation.judging import is_caption
from rsidiff_kedro.prompts.sources import FileSource, check_source, collect_prompts
from rsidiff_kedro.rewards import check_reward, features_names, reward_names

SHIPPED_MODEL = "scenes"


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
            parameters = _absolute_source(parameters, self.project_path)
            parameters = parameters.model_copy(update={"rewards": parameters.rewards.within(self.project_path)})
            _check_rewards(parameters)
            _check_prompts(parameters)
            if parameters.model.base != SHIPPED_MODEL:
                check_model(parameters.model)
        except ValueError as error:
            raise click.UsageError(" ".join(str(error).split())) from error
        # Nodes get what was validated, defaults filled in, and not what was typed.
        self.config_loader["parameters"] = parameters.model_dump()
        pipeline_registry.set_rounds(parameters.rounds)


def _absolute_source(parameters: Parameters, project_path: Path) -> Parameters:
    """A relative path of a prompt file is relative to the project, as the catalog's are."""
    curation = parameters.prompt_curation
    if not isinstance(curation.source, FileSource):
        return parameters
    source = curation.source.model_copy(update={"path": project_path / curation.source.path.expanduser()})
    return parameters.model_copy(update={"prompt_curation": curation.model_copy(update={"source": source})})


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
    """Whether the prompts can be read, suffice, and can be judged.

    Raises:
        ParameterError: they cannot; or what `check_source` raises.
    """
    curation = parameters.prompt_curation
    check_source(curation.source)
    if not isinstance(curation.source, FileSource):
        return
    texts = collect_prompts(curation.source, parameters.seed).drop_duplicates("prompt_id")["text"]
    needed = curation.pool_size + curation.validation_size + curation.test_size
    if len(texts) < needed:
        raise ParameterError(
            f"{curation.source.path} holds {len(texts)} different prompts, but pool_size ({curation.pool_size}), "
            f"validation_size ({curation.validation_size}) and test_size ({curation.test_size}) need {needed}; "
            "add prompts or lower these parameters of prompt_curation"
        )
    readable = texts.map(is_caption)
    if "oracle" in parameters.reward_names and not readable.all():
        raise ParameterError(
            f"the reward 'oracle' reads captions of the scenes grammar alone, which {texts[~readable].iloc[0][:60]!r} "
            f"of {curation.source.path} is not; select by another reward"
        )
    if parameters.evaluation.judge == "scenes" and not readable.any():
        raise ParameterError(
            f"evaluation.judge is 'scenes', which reads captions of the scenes grammar, but no prompt of "
            f"{curation.source.path} is one (the first: {texts.iloc[0][:60]!r}); set evaluation.judge=null"
        )
