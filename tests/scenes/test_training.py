"""The networks of the embedded model: built, trained for a few steps, resumed, saved in diffusers' own format."""

from functools import partial

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from rsidiff_kedro.scenes.pretraining.autoencoder import encode, reconstruct, to_pixels, to_tensor, train_autoencoder
from rsidiff_kedro.scenes.pretraining.corpus import NoiseRates, corpus_pixels, draw_corpus
from rsidiff_kedro.scenes.pretraining.denoiser import LatentPairs, Phase, build_tokenizer, tokenize, train_denoiser
from rsidiff_kedro.scenes.pretraining.fitting import FitError, Schedule, fit
from rsidiff_kedro.scenes.pretraining.unet import UNetDenoiser, UNetSizes, draw_timesteps

TINY = UNetSizes(channels=(16, 16), text_width=16, text_layers=1)
BUILD = partial(UNetDenoiser, TINY)
LATENTS = (4, 8, 8)


@pytest.fixture(scope="module")
def corpus():
    return draw_corpus(64, 0.5, NoiseRates(caption=0.2, stray=0.1, malformed=0.1), seed=0)


@pytest.fixture(scope="module")
def autoencoder(corpus):
    return train_autoencoder(corpus_pixels(corpus), (16, 16, 16), 4, Schedule(5, 4, 1e-3), seed=0)[0]


def test_latents_have_mean_zero_and_deviation_one_a_channel(corpus, autoencoder):
    latents = encode(autoencoder, corpus_pixels(corpus))
    assert latents.shape == (64, *LATENTS)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-2


def test_whitening_leaves_reconstructions_as_they_were(corpus):
    pixels = corpus_pixels(corpus)[:8]
    trained, _ = train_autoencoder(pixels, (16, 16, 16), 4, Schedule(2, 4, 1e-3), seed=0)
    again = reconstruct(trained, pixels)
    assert again.shape == pixels.shape
    assert again.dtype == np.uint8


def test_pixels_survive_the_way_to_tensors_and_back(corpus):
    pixels = corpus_pixels(corpus)
    assert (to_pixels(to_tensor(pixels)) == pixels).all()


def test_each_word_of_the_grammar_is_one_token():
    tokens = build_tokenizer().tokenize("a small red circle left of a large purple triangle on a brown background")
    assert len(tokens) == 14


def test_a_tokenizer_is_the_same_each_time_it_is_built():
    vocabularies = [build_tokenizer().get_vocab() for _ in range(5)]
    assert all(vocabulary == vocabularies[0] for vocabulary in vocabularies)


def test_the_longest_caption_fits():
    tokenizer = build_tokenizer()
    ids = tokenize(tokenizer, ["a small red circle left of a large purple triangle on a brown background"])
    assert ids.shape == (1, 16)
    assert ids[0, -1] == tokenizer.eos_token_id


def test_timesteps_are_in_range_and_centred_late():
    drawn = draw_timesteps(4000, torch.Generator().manual_seed(0))
    assert drawn.min() >= 0
    assert drawn.max() <= 999
    assert 500 < drawn.float().mean() < 650


def test_an_unmodified_pipeline_loads_and_draws_what_was_saved(corpus, autoencoder, tmp_path):
    pairs = LatentPairs(encode(autoencoder, corpus_pixels(corpus)), corpus["caption"].tolist())
    denoisers, tokenizer, losses = train_denoiser(BUILD, [Phase(Schedule(50, 4, 1e-3), pairs)], seed=0)
    assert len(losses) == 1
    denoisers[-1].assemble(autoencoder, tokenizer).save_pretrained(tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red circle", num_inference_steps=2, height=32, width=32).images[0]
    assert image.size == (32, 32)


def test_a_later_phase_goes_on_from_what_an_earlier_one_left(corpus, tmp_path):
    captions = corpus["caption"].tolist()
    first, second = (
        Phase(
            Schedule(steps, 4, 1e-3, checkpoint_every=steps),
            LatentPairs(torch.randn(64, *LATENTS, generator=torch.Generator().manual_seed(steps)), captions),
            tmp_path / f"{steps}.pt",
        )
        for steps in (3, 2)
    )
    at_once, _, _ = train_denoiser(BUILD, [first, second], seed=0)
    (tmp_path / "2.pt").unlink()
    resumed, _, _ = train_denoiser(BUILD, [first, second], seed=0)
    alone, _, _ = train_denoiser(BUILD, [first], seed=0)

    def weights(denoiser):
        return denoiser.state_dict()["unet.conv_in.weight"]

    assert len(at_once) == 2
    assert torch.equal(weights(at_once[1]), weights(resumed[1]))
    assert torch.equal(weights(at_once[0]), weights(alone[0]))
    assert not torch.equal(weights(at_once[1]), weights(alone[0]))


def test_a_denoiser_reads_the_caption():
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    denoiser = UNetDenoiser(TINY, tokenizer, LATENTS).eval()
    noisy, timesteps = torch.randn(2, *LATENTS), torch.tensor([500, 500])
    tokens = tokenize(tokenizer, ["a red circle", "a blue square"])
    one = denoiser(noisy[:1].expand(2, -1, -1, -1), timesteps, tokens)
    assert one.shape == (2, *LATENTS)
    assert not torch.equal(one[0], one[1])


def _regression(checkpoint, steps=20, stop=None):
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    batches = []

    def loss_of_batch(generator):
        if len(batches) == stop:
            raise KeyboardInterrupt
        batches.append(1)
        inputs = torch.randn(8, 3, generator=generator)
        return (network(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()

    schedule = Schedule(steps, 8, 0.1, warmup_steps=2, ema_decay=0.5, checkpoint_every=5)
    fit(network, loss_of_batch, schedule, seed=1, title="regression", checkpoint=checkpoint)
    return network


def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    whole = _regression(None)
    with pytest.raises(KeyboardInterrupt):
        _regression(tmp_path / "state.pt", stop=13)
    resumed = _regression(tmp_path / "state.pt")
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_training_lowers_the_loss():
    trained = _regression(None, steps=200)
    assert trained.weight.detach().numpy() == pytest.approx(np.ones((1, 3)), abs=0.05)


def test_a_loss_that_is_no_number_ends_a_training_with_what_to_lower(tmp_path):
    network = torch.nn.Linear(1, 1)
    schedule = Schedule(3, 1, 1e3, warmup_steps=0)
    with pytest.raises(FitError, match=r"the loss is nan at step 0; lower its learning_rate \(now 1000.0\)"):
        fit(network, lambda _: network.weight.sum() * float("nan"), schedule, 0, "toy", tmp_path / "state.safetensors")
    assert not list(tmp_path.iterdir())
