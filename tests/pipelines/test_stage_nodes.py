"""The nodes of prompt curation, synthesis, preference selection and weighting, with the shipped models."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.prompt_table import prompt_table
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import LoraSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import initial_adapter
from rsidiff_kedro.method.replay import weighted_images
from rsidiff_kedro.method.selection import select_samples
from rsidiff_kedro.method.settings import (
    EarlyDroppingSettings,
    ProbeSettings,
    SelectionSettings,
    SynthesisSettings,
    WeightingSettings,
)
from rsidiff_kedro.pipelines.preference_selection.nodes import score_images
from rsidiff_kedro.pipelines.prompt_curation import nodes as curation
from rsidiff_kedro.pipelines.synthesis.nodes import generate_images
from rsidiff_kedro.pipelines.weighting.nodes import kept_images, weigh_kept_images
from rsidiff_kedro.prompts.settings import FilterSettings
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.scenes.world.grammar import sample_scene
from rsidiff_kedro.scenes.world.renderer import add_stray

MODEL = ModelSettings(base="scenes")
REWARDS = RewardsSettings()
QUICK = SamplerSettings(num_inference_steps=2, guidance_scale=2.0, micro_batch_size=4)
PROMPTS = prompt_table(["a red circle", "a large blue square left of a small green triangle"], "grammar")


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return initial_adapter(load_model(MODEL), LoraSettings(rank=2), 0)


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(3)
    return [sample_scene(rng, 1 + number % 2) for number in range(150)]


def test_a_prompt_longer_than_the_text_encoder_reads_is_dropped_with_its_rule() -> None:
    collected = prompt_table(["a red circle", "a red circle " * 9], "file")
    kept, rejected = curation.filter_prompts(
        collected, FilterSettings(), {"kind": "grammar"}, None, MODEL.family, MODEL.base, None, {}
    )
    assert kept["text"].tolist() == ["a red circle"]
    assert rejected["rule"].tolist() == ["too_long"]


def test_a_prompt_that_t5_alone_cuts_is_dropped_with_its_limit(family_folder) -> None:
    base, options = str(family_folder("stable_diffusion_3")), {"max_sequence_length": 6}
    collected = prompt_table(["a fox at sea", "a fo"], "file")
    kept, rejected = curation.filter_prompts(
        collected, FilterSettings(), {"kind": "grammar"}, None, "stable_diffusion_3", base, None, options
    )
    assert kept["text"].tolist() == ["a fo"]
    assert rejected["detail"].tolist() == ["14 tokens, 12 characters; at most 6 tokens are read"]


def test_the_probe_generates_and_scores_every_candidate() -> None:
    probe = ProbeSettings(reward="proxy", sampler=QUICK, samples_per_prompt=2)
    images = curation.generate_probe_images(PROMPTS, True, probe, MODEL, 0)
    scores = curation.score_probe_images(images, probe, REWARDS)
    assert scores.groupby("prompt_id")["proxy"].count().tolist() == [2, 2]


def test_without_curation_nothing_is_probed() -> None:
    probe = ProbeSettings(reward="proxy", sampler=QUICK)
    images = curation.generate_probe_images(PROMPTS, False, probe, MODEL, 0)
    assert len(images) == len(curation.score_probe_images(images, probe, REWARDS)) == 0


def test_every_drop_is_in_one_table() -> None:
    parts = [pd.DataFrame({"prompt_id": [name], "rule": [name]}) for name in ("empty", "solved")]
    assert curation.gather_rejected(*parts)["rule"].tolist() == ["empty", "solved"]


def test_synthesis_generates_as_many_images_per_prompt_as_are_asked_for(adapter: Adapter) -> None:
    images = generate_images(
        PROMPTS, adapter, MODEL, SynthesisSettings(samples_per_prompt=3, sampler=QUICK), REWARDS, 0, 2
    )
    assert images.metadata["prompt_id"].value_counts().tolist() == [3, 3]
    assert images.metadata["image_id"].is_unique
    assert images.latents is not None and len(images.latents) == 6


def test_early_dropping_goes_through_scoring_and_selection_and_is_no_reference(adapter: Adapter) -> None:
    dropping = EarlyDroppingSettings(after=2, reward="proxy")
    settings = SynthesisSettings(
        samples_per_prompt=4,
        sampler=QUICK.model_copy(update={"num_inference_steps": 4}),
        early_dropping=dropping,
    )
    images = generate_images(PROMPTS, adapter, MODEL, settings, REWARDS, 0, 2)
    dropped = images.metadata["dropped"]
    early = images.metadata.groupby("prompt_id")["early_reward"].rank(ascending=False)
    assert dropped.tolist() == (early > 2).tolist() and dropped.sum() == 4
    scores = score_images(images, {"proxy": 1.0}, {}, REWARDS)
    assert scores["proxy"].isna().tolist() == dropped.tolist() and scores["proxy"].dtype == np.float32
    selection = select_samples(scores, SelectionSettings(rewards={"proxy": 1.0}, keep_per_prompt=4), 0)
    assert selection["reason"].tolist() == ["early" if each else "" for each in dropped]
    weighting = WeightingSettings(features="proxy", reference="round")
    weights = weigh_kept_images(images, selection, images, weighting, REWARDS, MODEL)
    done = images.select((~dropped).to_numpy().nonzero()[0])
    of_done = score_images(done, {"proxy": 1.0}, {}, REWARDS)
    np.testing.assert_array_equal(of_done["proxy"], scores["proxy"][~dropped])
    assert scores.attrs == of_done.attrs and list(scores.attrs["rewards"]) == ["proxy"]
    alone = weigh_kept_images(done, selection[~dropped], done, weighting, REWARDS, MODEL)
    pd.testing.assert_frame_equal(weights, alone)
    assert not {"dropped", "early_reward"} & {*weighted_images(images, weights, 2).metadata}  # earlier rounds have none


class Standing:
    """How far a sample's brightness is above its prompt's mean, in standard deviations of the prompt's samples."""

    def score_prompt(self, images, prompt):
        brightness = np.array([np.asarray(image).mean() for image in images])
        return (brightness - brightness.mean()) / brightness.std()


def test_a_reward_that_compares_a_prompts_samples_sees_the_finished_ones_alone() -> None:
    name, levels = f"{__name__}:Standing", [200, 20, 180, 10, 150, 5]
    images = shades(levels)
    images.metadata["dropped"] = [False, True] * 3
    finished = images.select([0, 2, 4])
    scores = score_images(images, {name: 1.0}, {name: -5.0}, REWARDS)
    alone = score_images(finished, {name: 1.0}, {name: -5.0}, REWARDS)
    np.testing.assert_array_equal(scores[name][~images.metadata["dropped"]], alone[name])
    settings = SelectionSettings(rewards={name: 1.0}, keep_per_prompt=4, max_gap=0.75)
    assert select_samples(scores, settings, 0)["reason"].tolist() == ["", "early", "gap", "early", "gap", "early"]


def shades(levels: list[int]) -> ImageSet:
    """Return samples of one prompt that are of one gray each."""
    metadata = pd.DataFrame({"image_id": [f"a_{number}" for number in range(len(levels))], "prompt_id": "a"})
    metadata = metadata.assign(text="a cat", sample_index=range(len(levels)), seed=0, file_name="", checkpoint="base")
    metadata = metadata.assign(guidance_scale=2.0, num_inference_steps=4)
    return ImageSet(metadata, [Image.new("RGB", (8, 8), (level,) * 3) for level in levels])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples_per_prompt": 1}, "samples_per_prompt is 1; raise it"),
        ({"early_dropping": {"after": 4, "reward": "proxy"}}, r"early_dropping.after \(4\) must be less than"),
        ({"samples_per_prompt": 3}, r"micro_batch_size \(4\) must be a multiple of samples_per_prompt \(3\)"),
        ({"early_dropping": {"after": 1, "reward": "proxy"}}, "greater than or equal to 2"),
    ],
)
def test_early_dropping_that_is_not_possible_is_refused(changes: dict[str, object], said: str) -> None:
    sampler = QUICK.model_copy(update={"num_inference_steps": 4})
    given = {"samples_per_prompt": 4, "sampler": sampler, "early_dropping": {"after": 2, "reward": "proxy"}}
    with pytest.raises(ValidationError, match=said):
        SynthesisSettings.model_validate(given | changes)


def test_rounds_generate_with_other_noise(adapter: Adapter) -> None:
    settings = SynthesisSettings(samples_per_prompt=1, sampler=QUICK)
    first, again, second = (
        generate_images(PROMPTS, adapter, MODEL, settings, REWARDS, 0, number) for number in (1, 1, 2)
    )
    assert first.latents.equal(again.latents)
    assert not first.latents.equal(second.latents)


def test_each_reward_that_selects_or_has_a_floor_gets_a_column(scenes, scene_images) -> None:
    images = scene_images(scenes[:3], 2)
    scores = score_images(images, {"proxy": 1.0}, {"oracle": 0.5}, REWARDS)
    assert scores["oracle"].tolist() == [1.0] * 6
    assert scores["proxy"].notna().all()


def test_samples_with_stray_blobs_weigh_less_than_half(scenes, scene_images) -> None:
    base = scene_images(scenes, 2, seed=1, spoil={1: lambda p, rng: add_stray(p, rng) if rng.random() < 0.3 else p})
    images = scene_images(scenes[:60], 2, seed=2, spoil={1: add_stray})
    selection = images.metadata[["image_id", "sample_index"]].assign(kept=True)
    weights = weigh_kept_images(
        images, selection, base, WeightingSettings(features="proxy", reference="base"), REWARDS, MODEL
    )
    mean = weights.merge(selection, on="image_id").groupby("sample_index")["weight"].mean()
    assert mean[1] < 0.5 * mean[0]


def test_kept_images_are_compared_with_the_rounds_images_the_bases_or_both(scenes, scene_images) -> None:
    base, images = scene_images(scenes, 2, seed=1), scene_images(scenes[:60], 2, seed=2)
    selection = images.metadata[["image_id"]].assign(kept=True)

    def distances(base: ImageSet, reference: str) -> list[float]:
        settings = WeightingSettings(features="proxy", reference=reference)
        return weigh_kept_images(images, selection, base, settings, REWARDS, MODEL)["distance"].tolist()

    assert len({distances(base, reference)[0] for reference in ("round", "base", "both")}) == 3
    # Round 1's images are the base's own, and do not count twice.
    assert distances(images, "both") == distances(images, "round")


def test_only_kept_images_are_weighed_in_the_order_in_which_they_were_generated(scenes, scene_images) -> None:
    images = scene_images(scenes[:60], 2, seed=2)
    selection = images.metadata[["image_id"]].assign(kept=images.metadata["sample_index"] == 1).iloc[::-1]
    assert kept_images(images, selection).metadata["sample_index"].unique().tolist() == [1]
    weights = weigh_kept_images(
        images, selection, scene_images(scenes, 2, seed=1), WeightingSettings(features="proxy"), REWARDS, MODEL
    )
    assert weights["image_id"].tolist() == [f"p{number}_1" for number in range(60)]
    with pytest.raises(InputError, match="60 of 60 rows are of no image of the set, 'p59_1' first"):
        kept_images(images.select([0]), selection.replace("p0_1", "p0_2"))
