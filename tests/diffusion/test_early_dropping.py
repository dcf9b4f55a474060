"""The worse half of a prompt's samples is denoised for some steps only; the others stay what they are without it."""

from dataclasses import dataclass, field
from functools import wraps
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    IPNDMScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.early_dropping import EarlyDropping, better_half, check_scheduler
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings

PROMPTS = pd.DataFrame({"prompt_id": ["aa", "bb", "cc"], "text": ["a red circle", "a blue square", "a cat"]})
SAMPLER = SamplerSettings(num_inference_steps=4, guidance_scale=3.0, micro_batch_size=4)


@dataclass(frozen=True)
class Brightness:
    """A score, and the number of times that it was opened."""

    opened: list[int] = field(default_factory=list)

    def __call__(self):
        self.opened.append(1)
        return lambda images, prompts: np.array([np.asarray(image).mean() for image in images])


def generate(model, score=None, folder=None, sampler=SAMPLER, after=2):
    dropping = EarlyDropping(after, score, 2) if score is not None else None
    return sample_images(model, None, PROMPTS, 2, sampler, 0, "test", "generating", folder, dropping)


def pixels(images):
    return np.stack([np.asarray(image) for image in images.images]).astype(int)


@pytest.fixture
def opened(family_folder, family):
    return load_model(ModelSettings(family=family, base=str(family_folder(family)), resolution=32))


@pytest.mark.parametrize("family", FAMILIES.names)
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_early_dropping_computes_half_of_the_samples_and_leaves_these_as_they_are(opened, guidance_scale, monkeypatch):
    sampler = SAMPLER.model_copy(update={"guidance_scale": guidance_scale})
    whole, rows = generate(opened, sampler=sampler), []
    kind, forward = type(opened.denoiser), type(opened.denoiser).forward

    @wraps(forward)
    def count(module, *args, **kwargs):
        rows.append(len(args[0] if args else kwargs["hidden_states"]))
        return forward(module, *args, **kwargs)

    monkeypatch.setattr(kind, "forward", count)
    images = generate(opened, Brightness(), sampler=sampler)
    dropped = images.metadata["dropped"].to_numpy()
    assert dropped.reshape(3, 2).sum(axis=1).tolist() == [1, 1, 1]
    early = images.metadata["early_reward"].to_numpy().reshape(3, 2)
    assert (dropped.reshape(3, 2) == (early < early.max(axis=1, keepdims=True))).all()
    assert abs(pixels(images) - pixels(whole))[~dropped].max() <= 1
    torch.testing.assert_close(images.latents[:][~dropped], whole.latents[:][~dropped], rtol=1e-3, atol=1e-3)
    # The picture of a dropped sample is the one that was scored.
    np.testing.assert_allclose(pixels(images).mean(axis=(1, 2, 3))[dropped], early.ravel()[dropped], atol=1e-3)
    whole_batch = rows[0]  # twice the samples where guidance passes each twice
    assert rows == [whole_batch, whole_batch, whole_batch // 2, whole_batch // 2] * 2
    assert "forward" not in vars(opened.denoiser)  # as before


def test_without_it_the_table_of_images_has_no_further_column(model):
    assert not {"dropped", "early_reward"} & set(generate(load_model(model)).metadata.columns)


def test_a_continued_run_knows_what_was_dropped_and_scores_nothing_again(model, tmp_path):
    first, score = generate(load_model(model), Brightness(), tmp_path), Brightness()
    again = generate(load_model(model), score, tmp_path)
    pd.testing.assert_frame_equal(first.metadata, again.metadata)
    assert (pixels(first) == pixels(again)).all() and score.opened == []
    in_memory = generate(load_model(model), Brightness())
    pd.testing.assert_frame_equal(first.metadata, in_memory.metadata)


def test_the_denoiser_is_as_before_after_an_error(model):
    def refuse(images, prompts):
        raise OSError("no reward")

    opened = load_model(model)
    with pytest.raises(OSError, match="no reward"):
        generate(opened, lambda: refuse)
    assert "forward" not in vars(opened.denoiser)


@pytest.mark.parametrize(
    ("scores", "samples", "kept"),
    [
        ([1, 2, 4, 3], 2, [0, 1, 1, 0]),
        ([1, 1, 1, 1], 4, [1, 1, 0, 0]),
        ([3, 1, 2], 3, [1, 0, 1]),
        ([0, 5, 5, 5, 1], 5, [0, 1, 1, 1, 0]),
    ],
)
def test_the_better_half_is_rounded_up_and_the_first_of_equal_samples_wins(scores, samples, kept):
    assert better_half(np.array(scores, np.float32), samples).tolist() == list(map(bool, kept))


LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULERS = {
    "ddim": DDIMScheduler(clip_sample=False, **LINEAR),
    "euler": EulerDiscreteScheduler(**LINEAR),
    "dpm solver": DPMSolverMultistepScheduler(**LINEAR),
    "dpm solver of a flow": DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    ),
    "unipc": UniPCMultistepScheduler(**LINEAR),
    "deis": DEISMultistepScheduler(**LINEAR),
    "lms": LMSDiscreteScheduler(**LINEAR),
    "pndm": PNDMScheduler(skip_prk_steps=True, **LINEAR),
    "flow matching": FlowMatchEulerDiscreteScheduler(shift=3.0),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_perfect_denoiser_leads_to_the_clean_image_halfway(name, prediction):
    kind, config = type(SCHEDULERS[name]), dict(SCHEDULERS[name].config)
    if "flow" not in name:
        config["prediction_type"] = prediction
    check_scheduler(kind, config, 8, 4)


NOISY = {
    "euler ancestral": (EulerAncestralDiscreteScheduler, {}),
    "ddpm": (DDPMScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "dpm solver of a stochastic equation": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "two evaluations a step": (HeunDiscreteScheduler, {}),
    "two noise levels a step": (KDPM2DiscreteScheduler, {}),
    "no function that adds noise": (IPNDMScheduler, {}),
}


@pytest.mark.parametrize("name", NOISY)
def test_a_scheduler_that_does_not_show_early_what_samples_become_is_refused(name):
    kind, options = NOISY[name]
    with pytest.raises(ModelError, match=rf"{kind.__name__} does not show after 4 of 8 steps what samples become"):
        check_scheduler(kind, kind.from_config(LINEAR | options).config, 8, 4)


def test_two_moments_of_one_noise_level_predict_nothing_and_say_so(family_folder):
    """PNDM, which Stable Diffusion 1.4 comes with, takes its second step from the noise level of the first again."""
    opened = load_model(ModelSettings(base=str(family_folder("stable_diffusion")), resolution=32))
    opened.pipeline.scheduler = PNDMScheduler(skip_prk_steps=True, steps_offset=1, **LINEAR)
    score = Brightness()
    with pytest.raises(ModelError, match=r"early_dropping\.after is 2.*set another number"):
        generate(opened, score, after=2)
    assert score.opened == []
    images = generate(opened, score, after=3)
    assert images.metadata["dropped"].sum() == 3


@dataclass(frozen=True)
class Counting:
    """Counts the images that it scores at once."""

    seen: list[int] = field(default_factory=list)

    def __call__(self):
        def score(images, prompts):
            self.seen.append(len(images))
            return np.arange(len(images), dtype=np.float32)

        return score


def test_rows_that_only_fill_the_last_micro_batch_are_not_scored(model):
    score = Counting()
    images = generate(load_model(model), score)
    assert score.seen == [4, 2]
    assert images.metadata["dropped"].tolist() == [True, False] * 3


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the extra `onnx`")
def test_onnx_runtime_drops_what_torch_drops(family_folder):
    model = ModelSettings(base=str(family_folder("stable_diffusion")), resolution=32)
    whole, exported = (
        generate(load_model(model), Brightness(), sampler=SAMPLER.model_copy(update={"runtime": runtime}))
        for runtime in ("torch", "onnxruntime")
    )
    assert whole.metadata["dropped"].equals(exported.metadata["dropped"])
    assert abs(pixels(whole) - pixels(exported)).max() <= 1
