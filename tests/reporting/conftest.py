"""Metrics, scores and images of a base and two rounds."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.evaluation.categories import category_scores
from rsidiff_kedro.execution.run_facts import Change, RunFacts
from rsidiff_kedro.method.selection import select_samples
from rsidiff_kedro.method.settings import SelectionSettings
from rsidiff_kedro.reporting.category_table import category_html
from rsidiff_kedro.reporting.figures import loss_figure
from rsidiff_kedro.reporting.funnel import funnel
from rsidiff_kedro.reporting.gallery import gallery
from rsidiff_kedro.reporting.report import Contents
from rsidiff_kedro.reporting.training_samples import training_samples

SELECTION = SelectionSettings(rewards={"proxy": 1.0}, keep_per_prompt=1)
HOSTILE = "<script>alert('x')</script> & a \"red\" circle"


def scores_of(number: int) -> pd.DataFrame:
    """Return scores of two samples of ten prompts; a later round has more of them right."""
    table = pd.DataFrame(
        [(f"p{prompt}", sample, (prompt + sample) % 10) for prompt in range(10) for sample in range(2)],
        columns=["prompt_id", "sample_index", "level"],
    )
    return table.assign(
        image_id=[f"r{number}-{prompt}-{sample}" for prompt, sample in zip(table.prompt_id, table.sample_index)],
        text="a red circle",
        correct=table.level < 2 + 3 * number,
        attribute_accuracy=0.5 + 0.1 * number,
        hallucinations=np.where(table.level < 5, 2, 0),
        proxy=table.level / 10 + 0.2 * number,
    ).drop(columns="level")


def images_of(number: int, size: int = 8) -> ImageSet:
    scores = scores_of(number)
    metadata = scores[["image_id", "prompt_id", "text", "sample_index"]].assign(
        file_name="", seed=7, guidance_scale=3.0, num_inference_steps=8, checkpoint="c"
    )
    metadata.loc[metadata["prompt_id"] == "p0", "text"] = HOSTILE
    return ImageSet(metadata, [Image.new("RGB", (size, size), (number * 100, row, 0)) for row in range(len(scores))])


def metrics_of(number: int) -> dict[str, float | None]:
    scores = scores_of(number)
    accuracy = float(scores["correct"].mean())
    return {
        "test/prompt_accuracy": accuracy,
        "test/prompt_accuracy_low": accuracy - 0.1,
        "test/prompt_accuracy_high": accuracy + 0.1,
        "test/attribute_accuracy": 0.5 + 0.1 * number,
        "test/hallucination_rate": 0.5,
        "test/reward/proxy": float(scores["proxy"].mean()),
        "test/reward/proxy_low": 0.1,
        "test/reward/proxy_high": 1.0,
        "test/win_rate_over_base/proxy": 0.5 + 0.1 * number,
        "test/reward_gap": 0.1 * number,
        "test/diversity": 0.5 - 0.1 * number,
        "test/diversity_over_base": 1 - 0.2 * number,
        "test/diversity_over_base_low": 0.9 - 0.2 * number,
        "test/diversity_over_base_high": 1.1 - 0.2 * number,
        "test/embedding_spread": 0.2,
        "test/distance_to_base": 0.1 * number,
        "gate/accepted": None if number == 0 else float(number != 2),
    }


@pytest.fixture
def metrics() -> list[dict[str, float | None]]:
    return [metrics_of(number) for number in range(3)]


@pytest.fixture
def scores() -> list[pd.DataFrame]:
    return [scores_of(number) for number in range(3)]


@pytest.fixture
def images() -> list[ImageSet]:
    return [images_of(number) for number in range(3)]


@pytest.fixture
def prompts(scores: list[pd.DataFrame]) -> pd.DataFrame:
    """The test prompts, in two categories."""
    return pd.DataFrame({"prompt_id": sorted(set(scores[0]["prompt_id"])), "category": ["photo", "anime"] * 5})


def selection_of(number: int) -> pd.DataFrame:
    return select_samples(scores_of(number), SELECTION, 0)


def weights_of(number: int) -> pd.DataFrame:
    """Return weights of the kept samples that grow with the row."""
    kept = selection_of(number).query("kept")[["image_id"]].reset_index(drop=True)
    return kept.assign(distance=10.0 - kept.index, weight=0.1 + 0.2 * kept.index)


@pytest.fixture
def contents(
    metrics: list[dict[str, float | None]],
    images: list[ImageSet],
    scores: list[pd.DataFrame],
    prompts: pd.DataFrame,
) -> Contents:
    """Everything that a report can show."""
    rejected = pd.DataFrame({"rule": ["too_short"]})
    selections, weights = [selection_of(1), selection_of(2)], [weights_of(1), weights_of(2)]
    log = pd.DataFrame({"step": range(20), "loss": np.linspace(0.3, 0.1, 20)})
    return Contents(
        rounds=metrics,
        summary="a < b",
        selecting=["proxy"],
        gallery=gallery(images, scores, prompts, ["proxy"], SELECTION, ["proxy"]),
        categories=category_html(category_scores(prompts, scores, ["proxy"], 20, 0), ["proxy"]),
        training=[
            training_samples(part, *tables, ["proxy"], ["proxy"])
            for part, *tables in zip(images[1:], selections, weights)
        ],
        funnel=funnel(prompts, rejected, prompts.iloc[1:], 9, rejected.iloc[:0], prompts.iloc[1:], selections, weights),
        loss=loss_figure(log, log),
        facts=RunFacts(
            run_id="2026-01-01T00.00.00.000Z",
            command=["kedro", "run", "--params", "rounds=2"],
            environment="local",
            changed={"rounds": Change(2, 6)},
            versions={"torch": "2.13.0"},
            seconds={"synthesis": 30.0, "finetune": 100.0},
            adapters={1: "data/round_1/adapter"},
        ),
    )
