"""Experiments on the embedded model, each over several seeds, with what they measured as tables in Markdown.

    python benchmarks/study.py strategies   # the method beside naive self-training, gate off
    python benchmarks/study.py ablation     # selection and weights alone, together, and with curation
    python benchmarks/study.py ceiling      # the method beside selection by the judge
    python benchmarks/study.py gate         # the method with its gate on
    python benchmarks/study.py collapse     # the method and naive self-training over twelve rounds
    python benchmarks/study.py harder       # the same at a learning rate of 2e-3
    python benchmarks/study.py replay_base  # twelve rounds, the base's images trained on in each
    python benchmarks/study.py no_replay    # six rounds at 1.5e-3, each trained on its own images alone
    python benchmarks/study.py curation     # what the probe gives at equal cost, for two sources of prompts
    python benchmarks/study.py weights      # what weights have to do with the judge's verdict
    python benchmarks/study.py levers       # one lever at a time, on validation prompts

Runs lie in data/study and are not repeated; six rounds of one arm and seed take 10 to 16 minutes of one core, and all
experiments with all seeds some 11 hours of two.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from arms import (
    ALL_OFF,
    NO_SELECTION,
    ORACLE,
    STUDY,
    Arm,
    bootstrap_over_seeds,
    evaluation,
    mean_metric,
    newest,
    run_arms,
    training_samples,
)

from rsidiff_kedro.evaluation.diversity import open_diversity
from rsidiff_kedro.evaluation.intervals import ratio_of_means
from rsidiff_kedro.method.weighting import effective_sample_size
from rsidiff_kedro.prompts.splits import split_prompts
from rsidiff_kedro.scenes.plugins.prompt_source import GrammarSource
from rsidiff_kedro.scenes.world.grammar import COLORS, RELATIONS, SHAPES

SEEDS = [3, 4, 5]
"""Seeds on which no default was chosen."""
TRIAL_SEEDS = [100, 101]
"""Seeds on whose validation prompts the defaults were chosen."""
LEVER_SEEDS = [103]
HOPELESS_PROMPTS = "hopeless_prompts.txt"
CHEAP = {"prompt_curation.test_size": "10", "prompt_curation.validation_size": "160"}
"""The splits of trials and levers, which look at validation prompts alone."""
NO_GATE = {"gate.enabled": "false"}
HARDER = {"finetune.learning_rate": "2.0e-3"}
NO_REPLAY = {"finetune.learning_rate": "1.5e-3", "replay.rounds": "0"}
"""Each round trains on its own images alone, at a larger learning rate."""
METHOD, NAIVE = Arm("method", 6, NO_GATE), Arm("naive", 6, NO_GATE | ALL_OFF)
METHOD_LONG, NAIVE_LONG = Arm("method", 12, NO_GATE), Arm("naive", 12, NO_GATE | ALL_OFF)
METHOD_HARDER = Arm("method_harder", 12, NO_GATE | HARDER)
NAIVE_HARDER = Arm("naive_harder", 12, NO_GATE | HARDER | ALL_OFF)


def strategies(seeds: Sequence[int]) -> list[str]:
    """The three strategies beside none of them."""
    lines = compare([METHOD, NAIVE], seeds, "test")
    known = trial_captions()
    lines.append("- on test captions that no trial of the defaults looked at:")
    ends = {}
    for arm in (METHOD, NAIVE):
        table = evaluation(arm, seeds, "test")
        table = table[~table["text"].isin(known)]
        ends[arm.name] = last(table, arm)
        by_round = table.groupby("round")["correct"].mean()
        change = difference(ends[arm.name], table, "correct")
        lines.append(
            f"  {arm.name} {by_round[0]:.3f} to {by_round[arm.rounds]:.3f}, {change} ({len(ends[arm.name])} images);"
        )
    return [*lines, f"  method minus naive: {difference(ends['method'], ends['naive'], 'correct', None)}"]


def trial_captions() -> set[str]:
    """The captions that the trials evaluated: there are few of one object, so that seeds share them."""
    captions: set[str] = set()
    for seed in TRIAL_SEEDS:
        prompts = GrammarSource(count=400, evaluation_count=260).collect(seed)
        sizes = [int(CHEAP[f"prompt_curation.{name}_size"]) for name in ("validation", "test")]
        _, validation, test = split_prompts(prompts, *sizes, seed)
        captions |= {*validation["text"], *test["text"]}
    return captions


def ablation(seeds: Sequence[int]) -> list[str]:
    """Naive self-training, selection alone, weights alone, both, and curation on top, which is the method."""
    no_curation, no_weighting = {"prompt_curation.enabled": "false"}, {"weighting.enabled": "false"}
    arms = [
        NAIVE,
        Arm("selection", 6, NO_GATE | no_curation | no_weighting),
        Arm("weighting", 6, NO_GATE | no_curation | NO_SELECTION),
        Arm("selection_weighting", 6, NO_GATE | no_curation),
        METHOD,
    ]
    return compare(arms, seeds, "test")


def ceiling(seeds: Sequence[int]) -> list[str]:
    """The method beside one that selects by the judge itself."""
    return compare([METHOD, Arm("oracle", 6, NO_GATE | ORACLE)], seeds, "test")


def gate(seeds: Sequence[int]) -> list[str]:
    """The method as it is shipped."""
    return compare([Arm("gated", 6, {})], seeds, "test")


def collapse(seeds: Sequence[int]) -> list[str]:
    """Twice as many rounds, in which naive self-training collapses."""
    return compare([METHOD_LONG, NAIVE_LONG], seeds, "test")


def harder(seeds: Sequence[int]) -> list[str]:
    """Twice as many rounds at more than three times the learning rate."""
    return compare([METHOD_HARDER, NAIVE_HARDER], seeds, "test")


def replay_base(seeds: Sequence[int]) -> list[str]:
    """Twelve rounds, each of which also trains on images of the base; only validation prompts are looked at."""
    arm = Arm("method_replay_base", 12, NO_GATE | {"replay.base": "true"})
    return compare([METHOD_LONG, arm], seeds, "validation")


def no_replay(seeds: Sequence[int]) -> list[str]:
    """A regime in which the method declines, too."""
    arms = [
        Arm("method_no_replay", 6, NO_GATE | NO_REPLAY),
        Arm("naive_no_replay", 6, NO_GATE | NO_REPLAY | ALL_OFF),
    ]
    return compare(arms, seeds, "test")


def compare(arms: Sequence[Arm], seeds: Sequence[int], split: str) -> list[str]:
    """Accuracy by round, hallucinations and diversity, and the differences with their intervals."""
    run_arms(arms, seeds)
    tables = {arm.name: evaluation(arm, seeds, split) for arm in arms}
    rounds = arms[0].rounds
    lines = ["| arm | " + " | ".join(f"round {number}" for number in range(rounds + 1)) + " | last minus base |"]
    lines.append("|" + " --- |" * (rounds + 3))
    for column, title in (("correct", "accuracy"), ("hallucinated", "hallucination rate")):
        for arm in arms:
            table = tables[arm.name].assign(hallucinated=tables[arm.name]["hallucinations"] > 0)
            by_round = table.groupby("round")[column].mean()
            cells = " | ".join(f"{value:.3f}" for value in by_round)
            lines.append(f"| {arm.name}: {title} | {cells} | {difference(last(table, arm), table, column)} |")
    for arm in arms:
        values = [mean_metric(arm, seeds, number, f"{split}/diversity") for number in range(rounds + 1)]
        cells = " | ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {arm.name}: diversity | {cells} | {diversity_ratio(tables[arm.name], arm)} |")
    lines.append("")
    for one, other in itertools.combinations(arms, 2):
        gap = difference(last(tables[one.name], one), last(tables[other.name], other), "correct", None)
        lines.append(f"- {one.name} minus {other.name} at round {rounds}: {gap}")
    for arm in arms:
        table = tables[arm.name]
        ends = [f"{by_seed(table, seed, 0):.3f} to {by_seed(table, seed, rounds):.3f}" for seed in seeds]
        lines.append(f"- {arm.name}, by seed: {'; '.join(ends)}")
    return lines


def diversity_ratio(table: pd.DataFrame, arm: Arm) -> str:
    """The last round's diversity over the base's with its interval over the prompts of all seeds, as text."""
    apart = table.assign(prompt_id=table["seed"].astype(str) + " " + table["prompt_id"])
    end, start = (open_diversity(part) for part in (last(apart, arm), apart[apart["round"] == 0]))
    ratio = ratio_of_means(end, start, 2000, 0)
    return f"x {ratio.mean:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def last(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows of the arm's last round."""
    return table[table["round"] == arm.rounds]


def by_seed(table: pd.DataFrame, seed: int, number: int) -> float:
    """Accuracy of one seed in one round."""
    return float(table[(table["seed"] == seed) & (table["round"] == number)]["correct"].mean())


def difference(end: pd.DataFrame, start: pd.DataFrame, column: str, start_round: int | None = 0) -> str:
    """The mean difference over paired prompts and seeds with its interval, as text."""
    start = start if start_round is None else start[start["round"] == start_round]
    key = ["seed", "prompt_id"]
    means = [table.groupby(key)[column].apply(lambda values: values.astype(float).mean()) for table in (end, start)]
    interval = bootstrap_over_seeds((means[0] - means[1]).rename("value").reset_index())
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def curation(seeds: Sequence[int]) -> list[str]:
    """Measure curation at equal cost: the share of right kept samples, and the model's accuracy.

    From the grammar, and from a file of which a quarter asks for three objects, which the base cannot generate.
    """
    beyond = write_hopeless_prompts(STUDY / HOPELESS_PROMPTS)
    hopeless = {
        "prompt_curation.source.kind": "file",
        "prompt_curation.source.path": f"../{HOPELESS_PROMPTS}",
        "prompt_curation.evaluation_source.kind": "grammar",
        "prompt_curation.evaluation_source.evaluation_count": "260",
    }
    # The probe generates 800 images for the grammar, some 870 for the file; a fifth sample per prompt makes 900.
    without = {
        "prompt_curation.enabled": "false",
        "synthesis.samples_per_prompt": "5",
        "preference_selection.keep_per_prompt": "5",
    }
    pairs = {
        "grammar": (METHOD, Arm("no_curation", 6, NO_GATE | without)),
        "file": (
            Arm("hopeless", 6, NO_GATE | hopeless),
            Arm("hopeless_no_curation", 6, NO_GATE | hopeless | without),
        ),
    }
    run_arms([arm for pair in pairs.values() for arm in pair], seeds)
    head = ("kept samples that are right, by round", "of captions", "test accuracy, by round", "last minus base")
    lines = [f"| prompts | {' | '.join(head)} |", "| --- | --- | --- | --- | --- |"]
    for name, pair in pairs.items():
        tables = [evaluation(arm, seeds, "test") for arm in pair]
        for arm, table, curated in zip(pair, tables, ("curated", "not curated"), strict=True):
            samples = training_samples(arm, seeds)
            captions = samples[~samples["text"].isin(beyond)]
            by_round = [each.groupby("round")["correct"].mean() for each in (samples, captions, table)]
            cells = [", ".join(f"{value:.3f}" for value in values) for values in by_round]
            change = difference(last(table, arm), table, "correct")
            lines.append(f"| {name}, {curated} | {' | '.join(cells)} | {change} |")
        ends = [last(table, arm) for table, arm in zip(tables, pair, strict=True)]
        lines.append(f"| {name}: the difference | | | | {difference(*ends, 'correct', None)} |")
    return [*lines, "", *dropped_by_probe(pairs["file"][0], seeds, beyond)]


def dropped_by_probe(arm: Arm, seeds: Sequence[int], beyond: set[str]) -> list[str]:
    """Count the prompts of three objects that the probe saw and dropped, and the others that it called hopeless."""
    lines = []
    for seed in seeds:
        rejected = pd.read_parquet(newest(arm.folder(seed), "03_primary/rejected_prompts.parquet"))
        seen = pd.read_parquet(newest(arm.folder(seed), "02_intermediate/filtered_prompts.parquet"))
        dropped = rejected[rejected["rule"] == "hopeless"]["text"].isin(beyond)
        lines.append(
            f"- seed {seed}: the probe drops {dropped.sum()} of {seen['text'].isin(beyond).sum()} prompts of three "
            f"objects as hopeless, and {(~dropped).sum()} others"
        )
    return lines


def write_hopeless_prompts(path: Path) -> set[str]:
    """Write 330 captions of the grammar and 110 prompts of three objects, which the base cannot generate.

    Returns:
        the prompts of three objects.
    """
    captions = GrammarSource(count=330).collect(seed=0).query("split == 'pool'")["text"].tolist()
    rng = np.random.default_rng(0)
    beyond = []
    for _ in range(110):
        first, second, third = (f"a {rng.choice(list(COLORS))} {rng.choice(SHAPES)}" for _ in range(3))
        beyond.append(f"{first} {rng.choice(RELATIONS)} {second} {rng.choice(RELATIONS)} {third}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(captions + beyond) + "\n", encoding="utf-8")
    return set(beyond)


def weights(seeds: Sequence[int]) -> list[str]:
    """Compare the weights of kept samples with the judge's verdict."""
    from sklearn.metrics import roc_auc_score

    run_arms([METHOD], seeds)
    table = training_samples(METHOD, seeds)
    right, hallucinated = table["correct"].astype(bool), table["hallucinations"] > 0
    lines = [
        "| kept samples | share | mean weight | AUC of the distance against right ones |",
        "| --- | --- | --- | --- |",
    ]
    kinds = {"right": right, "hallucinated": hallucinated, "misaligned alone": ~right & ~hallucinated}
    for name, rows in kinds.items():
        both = table[rows | right]
        auc = "" if name == "right" else f"{roc_auc_score(~both['correct'].astype(bool), both['distance']):.3f}"
        lines.append(f"| {name} | {rows.mean():.3f} | {table['weight'][rows].mean():.3f} | {auc} |")
    sizes = table.groupby(["seed", "round"])["weight"].apply(lambda values: effective_sample_size(values.to_numpy()))
    by_round = ", ".join(f"{value:.2f}" for value in sizes.groupby("round").min())
    return [*lines, "", f"Smallest effective sample size of the seeds, by round: {by_round}"]


LEVERS = {
    "as it is": {},
    "the best sample of a prompt alone": {"preference_selection.keep_per_prompt": "1"},
    "weights over all components": {"weighting.ignored_variance": "0"},
    "weights from the round's images alone": {"weighting.reference": "round"},
    "guidance 1 in synthesis, 8 samples a prompt": {
        "synthesis.sampler.guidance_scale": "1.0",
        "synthesis.samples_per_prompt": "8",
        "preference_selection.keep_per_prompt": "8",
    },
    "8 samples a prompt": {"synthesis.samples_per_prompt": "8", "preference_selection.keep_per_prompt": "8"},
    "guidance 1.5 in synthesis": {"synthesis.sampler.guidance_scale": "1.5"},
    "guidance 3 in synthesis": {"synthesis.sampler.guidance_scale": "3.0"},
    "5 sampler steps in synthesis": {"synthesis.sampler.num_inference_steps": "5"},
    "75 prompts a round": {"prompt_curation.prompts_per_round": "75"},
    "learning rate x 2": {"finetune.learning_rate": "1.2e-3"},
    "learning rate / 3": {"finetune.learning_rate": "2.0e-4"},
    "200 steps a round": {"finetune.steps": "200"},
    "only this round's images": {"replay.rounds": "0"},
    "this round's images and the base's": {"replay.rounds": "0", "replay.base": "true"},
    "restart from the base": {"finetune.adapter": "restart"},
    "rank 4": {"finetune.rank": "4"},
    "attention alone": {"finetune.layers": "attention"},
    "the last weights, no average": {"finetune.ema_decay": "0.0"},
    "min-SNR loss weighting": {"finetune.min_snr_gamma": "5.0"},
    "logit-normal timesteps": {"finetune.logit_mean": "0.0"},
    "logit-normal timesteps, noisier": {"finetune.logit_mean": "1.0"},
    "logit-normal timesteps, cleaner": {"finetune.logit_mean": "-1.0"},
    "no empty prompts in training": {"finetune.condition_dropout": "0.0"},
}
LEVER_ROUNDS = 3


def levers(seeds: Sequence[int]) -> list[str]:
    """One lever at a time over a few rounds; validation prompts alone are looked at."""
    arms = [Arm(re.sub(r"\W+", "_", name), LEVER_ROUNDS, NO_GATE | CHEAP | params) for name, params in LEVERS.items()]
    run_arms(arms, seeds)
    numbers = range(LEVER_ROUNDS + 1)
    tables = [evaluation(arm, seeds, "validation") for arm in arms]
    lines = ["| lever | accuracy by round, from the base on | last minus as it is | diversity over the base's |"]
    lines.append("| --- | --- | --- | --- |")
    for name, arm, table in zip(LEVERS, arms, tables, strict=True):
        accuracy = ", ".join(f"{value:.3f}" for value in table.groupby("round")["correct"].mean())
        change = "" if arm is arms[0] else difference(last(table, arm), last(tables[0], arms[0]), "correct", None)
        diversity = [mean_metric(arm, seeds, number, "validation/diversity") for number in numbers]
        ratios = ", ".join(f"{value / diversity[0]:.2f}" for value in diversity[1:])
        lines.append(f"| {name} | {accuracy} | {change} | {ratios} |")
    return lines


def main() -> None:
    """Run an experiment and print its table."""
    every = (strategies, ablation, ceiling, gate, collapse, harder, replay_base, no_replay, curation, weights, levers)
    experiments = {each.__name__: each for each in every}
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("experiment", choices=experiments)
    options.add_argument("--seeds", type=int, nargs="+", help=f"default: {SEEDS}, of levers {LEVER_SEEDS}")
    given = options.parse_args()
    seeds = given.seeds or (LEVER_SEEDS if given.experiment == "levers" else SEEDS)
    sys.stdout.write("\n".join(experiments[given.experiment](seeds)) + "\n")


if __name__ == "__main__":
    main()
