"""Define what a run needs: each stage names its requirements, and every run and the doctor check them."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.files import size_of, size_text
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.core.votes import read_votes
from rsidiff_kedro.diffusion.bases import check_known
from rsidiff_kedro.diffusion.settings import SamplerSettings
from rsidiff_kedro.evaluation.judging import load_judge, unreadable
from rsidiff_kedro.prompts import sources
from rsidiff_kedro.prompts.splits import can_evaluate
from rsidiff_kedro.reporting.values import Metrics, reward_names
from rsidiff_kedro.rewards.cut_prompts import describe_cut_prompts
from rsidiff_kedro.rewards.protocol import FITTED_ON, record_changes
from rsidiff_kedro.rewards.registry import REWARDS, check_features, check_reward, check_settings

if TYPE_CHECKING:
    import pandas as pd

    from rsidiff_kedro.parameters import Parameters


logger = logging.getLogger(__name__)

_SCORE_ALIKE = (
    "score all rounds with these parameters: kedro run --pipelines=gate,evaluation,report --only-missing-outputs, in "
    "which the gate decides anew"
)
"""What makes scores of all rounds, whose candidates stay, fit into one report."""


class RequirementError(InputError):
    """The parameters contradict each other or the prompts; the message says what to change."""


@dataclass(frozen=True)
class Requirement:
    """Something that a stage needs.

    Attributes:
        subject: such as "reward: proxy"; one subject is checked once.
        check: returns what was found, in a few words, or raises a ValueError of one line.
    """

    subject: str
    check: Callable[[], str] = field(compare=False)


def model_requirement(parameters: "Parameters") -> Requirement:
    """Require the base model, complete and of the family that is set."""

    def check() -> str:
        from rsidiff_kedro.diffusion.opening import check_lora, check_loss, check_model, check_runtimes, check_steps

        model = parameters.model
        check_model(model)
        check_loss(model, parameters.finetune)
        check_lora(model, parameters.finetune)
        check_steps(model, _samplers(parameters))
        runtimes = {f"{path}.runtime": sampler.runtime for path, sampler in _samplers(parameters).items()}
        check_runtimes(model, {**runtimes, "finetune.runtime": parameters.finetune.runtime})
        return f"{model.family}, {model.base}" + (f", revision {model.revision}" if model.revision else "")

    return Requirement("model", check)


def _samplers(parameters: "Parameters") -> dict[str, SamplerSettings]:
    """Return the samplers of a run by their parameters' paths."""
    curation = parameters.prompt_curation
    probe = {"prompt_curation.probe.sampler": curation.probe.sampler} if curation.enabled else {}
    return {"sampler": parameters.sampler, "synthesis.sampler": parameters.synthesis.sampler, **probe}


def reward_requirements(names: Iterable[str], parameters: "Parameters") -> list[Requirement]:
    """Require preference models with their checkpoints."""
    checks = {name: partial(_check, check_reward, name, parameters) for name in sorted({*names})}
    return [Requirement(f"reward: {name}", check) for name, check in checks.items()]


def scored_images_requirements(parameters: "Parameters") -> list[Requirement]:
    """Require the model, every reward that selects or is reported, and the judge."""
    names = [*parameters.preference_selection.rewards, *parameters.evaluation.rewards]
    judge = [judge_requirement(parameters.evaluation.judge)] if parameters.evaluation.judge else []
    return [model_requirement(parameters), *reward_requirements(names, parameters), *judge]


def dropping_requirements(parameters: "Parameters") -> list[Requirement]:
    """Require, if samples are dropped early, a scheduler that shows what they become, and the reward."""
    given, sampler = parameters.synthesis.early_dropping, parameters.synthesis.sampler
    if given is None:
        return []

    def check() -> str:
        from rsidiff_kedro.diffusion.opening import check_dropping

        check_dropping(parameters.model, sampler.num_inference_steps, given.after)
        return f"after {given.after} of {sampler.num_inference_steps} steps"

    return [*reward_requirements([given.reward], parameters), Requirement("early dropping", check)]


def judge_requirement(name: str) -> Requirement:
    """Require a judge that can be opened."""

    def check() -> str:
        load_judge(name)
        return "can be opened"

    return Requirement(f"judge: {name}", check)


def features_requirement(name: str, parameters: "Parameters") -> Requirement:
    """Require an image embedding with its checkpoint."""
    return Requirement(f"features: {name}", partial(_check, check_features, name, parameters))


def _check(check: Callable[..., None], name: str, parameters: "Parameters") -> str:
    options = parameters.rewards.options(name)
    check_settings(parameters.model_names, parameters.rewards)
    check(name, **options)
    checkpoint = options.get("checkpoint")
    if checkpoint is None:
        return "needs no checkpoint"
    size = size_of(Path(checkpoint))
    return f"{checkpoint}, {size_text(size)}" if size else str(checkpoint)


def pairs_requirement(parameters: "Parameters") -> Requirement:
    """Require the real images of supervised fine-tuning."""

    def check() -> str:
        from rsidiff_kedro.diffusion.opening import open_tokenizer
        from rsidiff_kedro.diffusion.real_images import check_pairs

        model, sft = parameters.model, parameters.sft
        found = check_pairs(sft.images, sft.text_column, open_tokenizer(model))
        return f"{sft.images}, {found}"

    return Requirement("real images", check)


def section_requirement(name: str, parameters: "Parameters") -> Requirement:
    """Require a section of the parameters that not every environment has."""

    def check() -> str:
        if getattr(parameters, name) is None:
            raise RequirementError(f"the parameters have no section {name!r}; name one with --env that has it")
        return "in the parameters"

    return Requirement(f"section: {name}", check)


def prompts_requirement(parameters: "Parameters") -> Requirement:
    """Require that prompts can be collected, suffice and can be judged, if checking this costs nothing."""
    return Requirement("prompts", partial(_check_prompts, parameters))


def _check_prompts(parameters: "Parameters") -> str:
    curation, judge = parameters.prompt_curation, parameters.evaluation.judge
    summary = f"{curation.source.kind}; a pool of {curation.pool_size}, {curation.prompts_per_round} per round"
    used = [source for source in (curation.source, curation.evaluation_source) if source]
    if sources.check_paid(used, parameters.seed):
        return summary
    prompts = sources.collect_prompts(curation.source, curation.evaluation_source, parameters.seed, keep=True)
    summary = "; ".join([summary, *count_cut_prompts(parameters, prompts["text"].tolist())])
    if all(source.expected_evaluation is not None for source in used):
        return summary  # the settings have checked the counts
    prompts = prompts.drop_duplicates(["split", "prompt_id"])
    evaluates = can_evaluate(prompts)
    training, evaluating = (set(prompts.loc[rows, "prompt_id"]) for rows in (~evaluates, evaluates))
    shared = curation.evaluation_source is None and not (prompts["split"] == "evaluation").any()
    if shared:
        training, evaluating = training | evaluating, evaluating - training
    curation.check_counts(len(training), len(evaluating), shared)
    judged = prompts["text"][evaluates]
    if judge is not None and not any(map(load_judge(judge).can_read, judged)):
        raise unreadable(judge, judged.iloc[0])
    check_readable(parameters, sorted(parameters.reward_names), prompts["text"].tolist())
    check_known(parameters.model.base, prompts["text"].tolist())
    return summary


def count_cut_prompts(parameters: "Parameters", prompts: list[str]) -> list[str]:
    """Say in one log line how many of the collected prompts each reward reads only the beginning of; return its parts.

    Filters may yet drop some of them.
    """
    found = describe_cut_prompts(sorted(parameters.reward_names), parameters.rewards, prompts)
    if found:
        logger.warning(printable(f"Rewards cut prompts: {'; '.join(found)}"))
    return found


def check_scores(name: str, scores: "pd.DataFrame", parameters: "Parameters", own: bool = False) -> None:
    """Raise RequirementError if a stage cannot use scores that another run made beside its own.

    An open gate leaves the parent's scores behind. With the gate on, a rejected candidate's round goes on with them, so
    they need all that is measured.

    Args:
        name: of their dataset: the base's test scores, or the parent's validation or test scores.
        scores: of its images.
        parameters: of the run.
        own: the scores belong to a round that runs, as where its evaluation alone does.
    """
    round_name, base = name.rpartition(".")[0], name.endswith(".round_0.test_scores")
    if not (own or base or parameters.gate.enabled):
        return
    advice = remedy(name, own)
    if not (own or round_name.endswith(".round_0")):
        advice = f"set gate.enabled=false for this round, or {advice}"
    compared = [*parameters.evaluation.rewards, *parameters.preference_selection.rewards]
    missing = next((reward for reward in compared if reward not in scores), None)
    if missing is not None:
        raise RequirementError(f"{name} holds no scores of the reward {missing!r} to compare with; {advice}")
    judge = parameters.evaluation.judge
    if judge is not None and "correct" not in scores:
        raise RequirementError(f"{name} holds no verdicts of the judge {judge!r} to compare with; {advice}")
    record = scores.attrs.get("rewards", {}).get("votes", {})
    if (
        "votes" in compared
        and record.get(FITTED_ON, {}).get("sha256") != read_votes(parameters.rewards.votes.votes).digest
    ):
        raise RequirementError(f"{name} was scored by 'votes' as fitted on other votes than this run's; {advice}")


def check_reported(
    scores: "Mapping[str, pd.DataFrame]", metrics: Iterable[Metrics], made: Iterable[str], parameters: "Parameters"
) -> None:
    """Raise RequirementError unless the report can show scores of earlier runs, and the run's own, side by side.

    A round that ran alone may have been scored by other rewards than those before it.

    Args:
        scores: test scores that the report reads of earlier runs, by their datasets' names.
        metrics: of rounds, that it reads of them.
        made: test scores and metrics that it reads of the run itself.
        parameters: of the run.
    """
    own, judge = [*parameters.preference_selection.rewards, *parameters.evaluation.rewards], parameters.evaluation.judge
    earlier, judged = reward_names([*metrics]), any("correct" in each for each in scores.values())
    scored = next((name for name in made if name.endswith(".test_scores")), None)
    unscored = [name for name in earlier if name not in own]
    if scored is not None and unscored:
        raise RequirementError(
            f"this run makes {scored} without scores of the reward {unscored[0]!r}, which the report shows of every "
            f"round; add it to evaluation.rewards, or {_SCORE_ALIKE}"
        )
    if scored is not None and judged and judge is None:
        raise RequirementError(
            f"this run makes {scored} without verdicts of a judge, which the report shows of every round; set "
            f"evaluation.judge, or {_SCORE_ALIKE}"
        )
    measures = any(name.endswith(".metrics") for name in made)
    shown = dict.fromkeys([*(own if measures else parameters.preference_selection.rewards), *earlier])
    judged = judged or (measures and judge is not None)
    _check_alike(scores, shown, judged)


def _check_alike(scores: "Mapping[str, pd.DataFrame]", shown: Collection[str], judged: bool) -> None:
    """Check that scores of earlier runs have all that is shown of each, by the same rewards."""
    for name, table in scores.items():
        missing = [each for each in shown if each not in table]
        if missing:
            raise RequirementError(
                f"{name} holds no scores of the reward {missing[0]!r}, which the report shows of every round; "
                f"{_SCORE_ALIKE}"
            )
        if judged and "correct" not in table:
            raise RequirementError(
                f"{name} holds no verdicts of a judge, which the report shows of every round; {_SCORE_ALIKE}"
            )
    records = {name: table.attrs.get("rewards", {}) for name, table in scores.items()}
    first = next(iter(records), "")
    for name, found in records.items():
        for reward in found.keys() & records[first].keys() & {*shown}:
            changed = record_changes(records[first][reward], found[reward])
            if changed:
                raise RequirementError(
                    f"{name} was scored by another reward {reward!r} than {first} (they differ in "
                    f"{', '.join(changed)}); {_SCORE_ALIKE}"
                )


def remedy(name: str, own: bool = False) -> str:
    """Say how a dataset of images or scores is made again with the parameters of a run that would compare with it.

    `own`: it belongs to a round that runs, as where its evaluation alone does.
    """
    round_name = name.rpartition(".")[0]
    if round_name.endswith(".round_0") and not own:
        return f"first make it with these parameters: kedro run --namespaces={round_name} --only-missing-outputs"
    return "run all rounds with these parameters and --only-missing-outputs, which makes it again"


def check_prompts(parameters: "Parameters", prompts: list[str], example: str) -> None:
    """Raise RequirementError if a prompt is too long for the model, or is none that its rewards and judge can read.

    `example` is a prompt that they can read.
    """
    from rsidiff_kedro.diffusion.opening import open_tokenizer

    tokenizer = open_tokenizer(parameters.model)
    for prompt, (count, read) in zip(prompts, tokenizer.lengths(prompts)):
        if count > read:
            raise RequirementError(
                f"the prompt {prompt[:60]!r} has {count} tokens, and the model reads {read}; shorten it"
            )
    judge = parameters.evaluation.judge
    wrong = next((prompt for prompt in prompts if judge and not load_judge(judge).can_read(prompt)), None)
    if wrong is not None:
        raise RequirementError(
            f"the judge {judge!r} cannot read the prompt {wrong[:60]!r}, so it is none that this model knows; write it "
            f"as the prompts of the run are written, such as {example!r}"
        )
    check_readable(parameters, sorted(parameters.reward_names), prompts)


def check_readable(parameters: "Parameters", rewards: Iterable[str], prompts: list[str]) -> None:
    """Raise RequirementError if a reward cannot read one of the prompts that it will score."""
    for name in rewards:
        plugin = REWARDS.load(name)
        if not hasattr(plugin, "can_read"):
            continue
        reward = plugin(**parameters.rewards.options(name)) if isinstance(plugin, type) else plugin
        wrong = next((prompt for prompt in prompts if not reward.can_read(prompt)), None)
        if wrong is not None:
            raise RequirementError(
                f"the reward {name!r} cannot read the prompt {wrong[:60]!r}; use another reward, or "
                "prompts of the kind that it was trained on"
            )
