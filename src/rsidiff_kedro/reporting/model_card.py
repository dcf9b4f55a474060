"""Write the model card of an adapter, in the format of the Hugging Face hub."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from rsidiff_kedro import __version__
from rsidiff_kedro.core.untrusted.text import printable, tree_without_places, without_credentials
from rsidiff_kedro.evaluation.intervals import ratio_text
from rsidiff_kedro.provenance.records import Record
from rsidiff_kedro.reporting.labels import role
from rsidiff_kedro.reporting.summary import Comparison, compare_rounds, diversity_change
from rsidiff_kedro.reporting.values import Metrics, gate_verdict, reward_names

TEMPLATE = Path(__file__).parent / "templates" / "model_card.md.j2"
TAGS = ("text-to-image", "diffusers", "lora", "template:diffusion-lora", "rsidiff", "self-improvement", "rsidiff_kedro")
_MARKS = "\\`*_{}[]()#!|<>&~"


@dataclass(frozen=True)
class Example:
    """A prompt with the paths of two images of it, relative to the card's."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True)
class CardFacts:
    """Hold the facts that a card tells.

    Attributes:
        name: of the model, without an owner.
        base: the base model: a hub id, the name of a shipped model, or of a local folder.
        on_hub: whether `base` is a hub id.
        licence: of the base model as the hub abbreviates it, as far as it is known.
        number: the round whose adapter it is.
        how: why that round, in a few words.
        info: of the adapter (`Adapter.info`).
        digest: of the adapter.
        metrics: of all rounds, the base first.
        base_scores: test scores of the base.
        scores: test scores of the round `tested`.
        tested: the round, or a tested one with the same adapter.
        selecting: the rewards that select training images, each with how it does.
        parameters: of the run, by path.
        run: its version.
        records: of the steps that led to the adapter, the last one first.
        usage: how to load it, in Markdown.
        examples: images before and after.
    """

    name: str
    base: str
    on_hub: bool
    licence: str | None
    number: int
    how: str
    info: Mapping[str, Any]
    digest: str
    metrics: Sequence[Metrics]
    base_scores: pd.DataFrame
    scores: pd.DataFrame
    tested: int
    selecting: Mapping[str, str]
    parameters: Mapping[str, Any]
    run: str
    records: Sequence[Record]
    usage: str
    examples: Sequence[Example]


def model_card(facts: CardFacts, n_resamples: int, seed: int) -> ModelCard:
    """Return the card, without places of this machine; `n_resamples` and `seed` are of the intervals."""
    facts = replace(facts, **{each.name: tree_without_places(getattr(facts, each.name)) for each in fields(facts)})
    compared = compare_rounds(facts.base_scores, facts.scores, reward_names(facts.metrics), n_resamples, seed)
    return ModelCard.from_template(
        _data(facts, compared),
        template_path=str(TEMPLATE),
        title=plain(facts.name),
        base=f"[{facts.base}](https://huggingface.co/{facts.base})" if facts.on_hub else plain(facts.base),
        revision=f", revision {plain(facts.info['revision'])}" if facts.info.get("revision") else "",
        rounds=len(facts.metrics) - 1,
        package=__version__,
        chosen=_chosen(facts),
        usage=facts.usage,
        examples=[Example(plain(each.prompt), each.before, each.after) for each in facts.examples],
        n_prompts=facts.scores["prompt_id"].nunique(),
        n_images=len(facts.scores),
        measures=[*map(_row(facts.selecting), compared), *_diversity(facts)],
        held_out=_held_out(compared, facts.selecting),
        prompts=_prompts(facts.parameters),
        selecting=", ".join(_reward(name, how, facts.scores) for name, how in facts.selecting.items()) or "none",
        training=_training(facts.info),
        licence=_licence(facts),
        run=facts.run,
        seed=facts.info.get("seed"),
        digest=facts.digest,
        parent=facts.info.get("parent"),
        gate=_gate(facts.metrics),
        libraries=", ".join(f"{name} {number}" for name, number in facts.records[0].libraries.items()),
        steps=facts.records,
    )


def plain(text: object) -> str:
    """Return a text in one line that Markdown and HTML show as it is, without credentials."""
    line = without_credentials(printable(str(text)))
    return "".join(f"&#{ord(sign)};" if sign in _MARKS else sign for sign in line)


def _data(facts: CardFacts, compared: Sequence[Comparison]) -> ModelCardData:
    licence: dict[str, Any] = {"license": facts.licence}
    if facts.licence is None:
        licence = {"license": "other", "license_name": "as-the-base-model"}
        licence |= {"license_link": f"https://huggingface.co/{facts.base}"} if facts.on_hub else {}
    widget = [
        {"text": without_credentials(printable(example.prompt)), "example_title": title, "output": {"url": url}}
        for example in facts.examples
        for title, url in (("after", example.after), ("before (base model)", example.before))
    ]
    return ModelCardData(
        base_model=facts.base,
        base_model_relation="adapter",
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=list(TAGS),
        widget=widget,
        model_name=facts.name,
        eval_results=[_result(each, facts) for each in compared],
        **licence,
    )


def _result(compared: Comparison, facts: CardFacts) -> EvalResult:
    difference = compared.difference
    arguments = {"base_model": round(compared.base, 6), "difference": round(difference.mean, 6)}
    if not math.isnan(difference.low):
        arguments |= {"difference_low": round(difference.low, 6), "difference_high": round(difference.high, 6)}
    return EvalResult(
        task_type="text-to-image",
        dataset_name=f"{facts.scores['prompt_id'].nunique()} held-out test prompts of the run",
        dataset_type="rsidiff_kedro/test_prompts",
        metric_type=compared.name.removeprefix("reward ").replace(" ", "_"),
        metric_name=compared.name,
        metric_value=round(compared.last, 6),
        metric_args=arguments,
    )


def _row(selecting: Collection[str]) -> Any:
    def row(item: Comparison) -> dict[str, str]:
        _, found, reward = item.name.partition("reward ")
        return {
            "name": f"reward {plain(reward)} ({role(reward, selecting)})" if found else item.name,
            "base": f"{item.base:.3f}",
            "last": f"{item.last:.3f}",
            "difference": f"{item.difference.mean:+.3f} {item.difference}",
            "verdict": item.verdict,
        }

    return row


def _diversity(facts: CardFacts) -> list[dict[str, str]]:
    found = diversity_change([facts.metrics[0], facts.metrics[facts.tested]])
    if found is None:
        return []
    before, after, ratio, verdict = found
    row = {"base": f"{before:.3f}", "last": f"{after:.3f}", "difference": ratio_text(ratio)}
    return [{"name": "diversity within a prompt", **row, "verdict": verdict}]


def _held_out(compared: Sequence[Comparison], selecting: Collection[str]) -> str:
    if not selecting:
        return "No reward selected the training images, so all are held out."
    rewards = [each.name.removeprefix("reward ") for each in compared if each.name.startswith("reward ")]
    if any(not each.name.startswith("reward ") for each in compared) or set(rewards) - set(selecting):
        return "A reward that selects says little by itself; read it beside what is held out."
    return "Nothing was held out: a reward that selects says little about what people would see."


def _chosen(facts: CardFacts) -> str:
    trained = facts.info.get("round")
    kept = f"; the gate kept the adapter of round {trained}" if trained != facts.number else ""
    if trained == 0:
        kept = "; no candidate has replaced the adapter of round 0, which changes nothing"
    return f"the adapter after round {facts.number} of {len(facts.metrics) - 1} ({facts.how}{kept})"


def _prompts(parameters: Mapping[str, Any]) -> str:
    """Describe the sources of the prompts; of a local file only its name."""
    training, evaluation = (
        {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}
        for prefix in ("prompt_curation.source.", "prompt_curation.evaluation_source.")
    )
    return _source(training) + (f"; for evaluation {_source(evaluation)}" if evaluation.get("kind") else "")


def _source(settings: Mapping[str, Any]) -> str:
    named = [settings[name] for name in ("dataset", "model") if settings.get(name)]
    named += [Path(str(settings["path"])).name] if settings.get("path") else []
    parts = settings.get("sources") if settings.get("kind") == "mixture" else None
    mixed = "; ".join(_source(part["source"]) for part in parts) if isinstance(parts, list | tuple) else ""
    described = ", ".join([f"source {plain(settings.get('kind', 'unknown'))}", *map(plain, named)])
    return described + (f" ({mixed})" if mixed else "")


def _reward(name: str, how: str, scores: pd.DataFrame) -> str:
    record = scores.attrs.get("rewards", {}).get(name) or {}
    record = tree_without_places({key: Path(str(record[key])).name for key in ("file", "sha256") if record.get(key)})
    found = ", ".join(f"{key} {plain(value)}" for key, value in record.items())
    return f"{plain(name)} {how}" + (f" ({found})" if found else "")


def _training(info: Mapping[str, Any]) -> list[str]:
    if info.get("images") is None:  # of the adapter that training starts from
        return []
    settings = info.get("finetune", {})
    shown = ", ".join(f"{name} {value}" for name, value in sorted(settings.items()) if value is not None)
    return [
        f"Training images of its last round, replayed ones included: {info.get('images')}.",
        f"Training: {plain(shown)}.",
    ]


def _licence(facts: CardFacts) -> str:
    if facts.licence is not None:
        return f"The base model comes with rsidiff_kedro, under its licence ({facts.licence.upper()})."
    where = f": [{facts.base}](https://huggingface.co/{facts.base})" if facts.on_hub else ""
    return f"The licence of the base model applies to its adapters, too{where}."


def _gate(rounds: Sequence[Metrics]) -> str:
    verdicts = [gate_verdict(metrics) for metrics in rounds]
    rejected, off = (
        [str(number) for number, found in enumerate(verdicts) if number and found == verdict]
        for verdict in ("rejected", "no gate")
    )
    if len(off) == len(rounds) - 1:
        return "There was no gate, so every candidate was used."
    said = f"the candidates of rounds {', '.join(rejected)}" if rejected else "no candidate"
    return f"The gate rejected {said}." + (f" It was off in rounds {', '.join(off)}." if off else "")
