"""Composition of the stages over the rounds."""

from kedro.pipeline import Pipeline

from rsidiff_kedro.pipelines import (
    evaluation,
    finetune,
    preference_selection,
    prompt_curation,
    synthesis,
    weighting,
)
from rsidiff_kedro.pipelines.rounds import in_round


def create_stages(rounds: int) -> dict[str, Pipeline]:
    """Each stage by name, of all rounds (round 0 is the base); together they are the whole method.

    Each is one `Pipeline` of a list: adding pipelines one by one takes seconds at a hundred rounds.
    """
    trained = range(1, rounds + 1)
    return {
        "prompt_curation": prompt_curation.create_pipeline(),
        "synthesis": Pipeline([in_round(synthesis.create_pipeline(n), n) for n in trained]),
        "preference_selection": Pipeline([in_round(preference_selection.create_pipeline(), n) for n in trained]),
        "weighting": Pipeline([in_round(weighting.create_pipeline(), n) for n in trained]),
        "finetune": Pipeline([in_round(finetune.create_pipeline(n), n) for n in (0, *trained)]),
        "evaluation": Pipeline([in_round(evaluation.create_pipeline(n), n) for n in (0, *trained)]),
    }
