"""The transformer of the second embedded model: trained for a few steps, saved in diffusers' own format, sampled."""

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from torch import nn

from rsidiff_kedro.datasets import PretrainedDataset
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.settings import LossSettings, ModelSettings
from rsidiff_kedro.scenes.pretraining.autoencoder import build_autoencoder
from rsidiff_kedro.scenes.pretraining.denoiser import LatentPairs, Phase, build_tokenizer, tokenize, train_phase
from rsidiff_kedro.scenes.pretraining.fitting import Schedule, StackedMuon
from rsidiff_kedro.scenes.pretraining.mmdit import MMDiTDenoiser, MMDiTSizes, draw_sigmas

TINY = MMDiTSizes(layers=2, heads=2, head_width=8, text_width=16, text_layers=2)
LATENTS = (4, 8, 8)


@pytest.fixture(scope="module")
def denoiser():
    torch.manual_seed(0)
    network = MMDiTDenoiser(TINY, build_tokenizer(), LATENTS)
    pairs = LatentPairs(torch.randn(64, *LATENTS), ["a red circle", "a blue square"] * 32)
    train_phase(network, Phase(Schedule(5, 4, 1e-2, warmup_steps=1), pairs), seed=0, number=1)
    return network


@pytest.fixture(scope="module")
def folder(denoiser, tmp_path_factory):
    path = tmp_path_factory.mktemp("mmdit") / "pipeline"
    denoiser.assemble(build_autoencoder((16, 16, 16), 4), build_tokenizer()).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(folder):
    settings = ModelSettings(
        family="stable_diffusion_3", base=str(folder), options={"max_sequence_length": 0}, device="cpu"
    )
    return load_model(settings)


def test_an_unmodified_pipeline_loads_and_draws_what_was_saved(folder):
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red circle", num_inference_steps=2, max_sequence_length=0, height=32, width=32).images[0]
    assert image.size == (32, 32)


def test_the_family_encodes_and_predicts_as_training_did(denoiser, model):
    texts = ["a red circle", "a blue square"]
    noisy, timesteps = torch.randn(2, *LATENTS), torch.tensor([900.0, 100.0])
    with torch.no_grad():
        trained = denoiser(noisy, timesteps, tokenize(build_tokenizer(), texts))
        found = model.denoise(noisy, timesteps, model.conditioning(texts))
    assert model.conditioning(texts)["prompt_embeds"].shape == (2, 16, 32)
    assert torch.allclose(trained, found, atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_the_family_trains_on_it(model):
    conditioning, generator = model.conditioning(["a red circle"] * 2), torch.Generator().manual_seed(0)
    losses = model.training_loss(torch.randn(2, *LATENTS), conditioning, generator, LossSettings())
    assert losses.shape == (2,)


def test_a_pipeline_without_a_third_text_encoder_is_read_again(folder, tmp_path):
    kind = "diffusers.StableDiffusion3Pipeline"
    pipeline = StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    dataset = PretrainedDataset(filepath=str(tmp_path / "saved"), class_name=kind, stored_dtype="float16")
    dataset.save(pipeline)
    assert dataset.load().text_encoder_3 is None


def test_noise_shares_are_those_of_the_shifted_schedule():
    shares = draw_sigmas(4000, 3.0, torch.Generator().manual_seed(0))
    assert 0 < shares.min() < shares.max() < 1
    assert shares.median() == pytest.approx(0.75, abs=0.02)


def test_matrices_of_one_shape_are_updated_as_one_by_one():
    moved = []
    for kind in (torch.optim.Muon, StackedMuon):
        generator = torch.Generator().manual_seed(0)
        weights = [nn.Parameter(torch.zeros(shape)) for shape in ((16, 8), (8, 16), (8, 8), (8, 8))]
        optimizer = kind(weights, lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        for _ in range(3):
            for weight in weights:
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        moved.append(torch.cat([weight.detach().flatten() for weight in weights]))
    assert torch.cosine_similarity(*moved, dim=0) > 0.99  # torch computes in bfloat16
    assert moved[0].norm() == pytest.approx(float(moved[1].norm()), rel=0.02)
