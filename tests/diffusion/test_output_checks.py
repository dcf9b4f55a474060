"""What networks compute is checked wherever they compute: embeddings, latents, pixels, latents of real images."""

import pandas as pd
import pytest
import torch
from PIL import Image

from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.output_checks import WorthlessImages
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import ModelSettings, SamplerSettings

SAMPLER = SamplerSettings(num_inference_steps=1, guidance_scale=2.0, micro_batch_size=2)


def prompts(count):
    return pd.DataFrame(
        {"prompt_id": [f"p{row}" for row in range(count)], "text": [f"prompt {row}" for row in range(count)]}
    )


def generate(model, count=2, **options):
    return sample_images(model, None, prompts(count), 1, SAMPLER, 0, "test", "generating", **options)


@pytest.fixture(params=FAMILIES.names)
def model(request, family_folder):
    return load_model(ModelSettings(family=request.param, base=str(family_folder(request.param))))


def fill(network, number):
    for parameter in network.parameters():
        parameter.fill_(number)


def test_numbers_that_are_not_finite_stop_a_run(model):
    assert len(generate(model)) == 2
    # From the last network to the first, which is noticed first.
    for network, number, says in (
        (model.pipeline.vae.decoder, float("inf"), "pixels"),
        (model.denoiser, float("nan"), "latents for 'prompt 0'"),
        (model.pipeline.text_encoder, float("nan"), "prompt embeddings for 'prompt 0'"),
    ):
        fill(network, number)
        with pytest.raises(ModelError, match=f"NaN or infinite {says}"):
            generate(model)


def test_real_images_are_not_encoded_to_numbers_that_are_not_finite_or_to_nothing(model):
    images = [Image.effect_noise((32, 32), 50).convert("RGB")] * 2
    assert model.encode_images(images).shape == (2, 4, 16, 16)
    fill(model.pipeline.vae.encoder, 0.0)
    with pytest.raises(ModelError, match="latents without content"):
        model.encode_images(images)
    assert model.encode_images([Image.new("RGB", (32, 32), "red")]).shape == (1, 4, 16, 16)
    fill(model.pipeline.vae.encoder, float("nan"))
    with pytest.raises(ModelError, match="NaN or infinite latents of real images"):
        model.encode_images(images)


def test_a_text_encoder_that_ignores_prompts_is_refused(model):
    model.check()
    encoders = [each for name, each in model.pipeline.components.items() if name.startswith("text_encoder")]
    for encoder in encoders:
        fill(encoder, 0.0)
    with pytest.raises(ModelError, match="the same embeddings for all prompts"):
        model.check()


def lose_the_end(encoder):
    """Have an encoder take another token's state for a prompt's, the first one's, which follows no prompt."""
    getattr(encoder, "text_model", encoder).eos_token_id = encoder.config.vocab_size


@pytest.mark.parametrize("breaks", [lambda encoder: fill(encoder, 0.0), lose_the_end])
def test_one_of_several_text_encoders_that_ignores_prompts_is_refused(family_folder, breaks):
    """Whatever the others return."""
    for name in ("text_encoder", "text_encoder_2"):
        model = load_model(ModelSettings(family="stable_diffusion_3", base=str(family_folder("stable_diffusion_3"))))
        model.check()
        breaks(getattr(model.pipeline, name))
        with pytest.raises(ModelError, match=f"the {name} returns the same embeddings for all prompts"):
            model.check()


def test_a_state_of_a_whole_prompt_that_no_pipeline_reads_may_be_the_same_for_all(family_folder):
    """Stable Diffusion 1.x and XL read the states of their first text encoder alone."""
    for family in ("stable_diffusion", "stable_diffusion_xl"):
        model = load_model(ModelSettings(family=family, base=str(family_folder(family))))
        lose_the_end(model.pipeline.text_encoder)
        model.check()
        read = model.conditioning(["a red circle", "two blue squares"]).tensors["prompt_embeds"]
        assert not torch.allclose(read[0], read[1])


def test_a_decoder_that_makes_nothing_of_latents_stops_a_run(model, tmp_path):
    fill(model.pipeline.vae.decoder, 0.0)
    assert len(generate(model, 1)) == 1
    for count in (2, 5):
        with pytest.raises(ModelError, match=f"all images of {count} prompts have one colour each"):
            generate(model, count, unfinished=tmp_path)


def fade(decoder):
    decoder.conv_out.weight.mul_(1e-6)


def clip(decoder):
    decoder.conv_out.weight.mul_(1e6)


def repeat(decoder):
    decoder.conv_in.weight.fill_(0.0)


@pytest.mark.parametrize(("breaks", "says"), [(fade, "one colour"), (clip, "clipped"), (repeat, "are the same")])
def test_images_that_are_almost_flat_or_all_clipped_or_all_the_same_stop_a_run(model_folder, breaks, says):
    model = load_model(ModelSettings(base=str(model_folder)))
    assert len(generate(model, 8)) == 8
    breaks(model.pipeline.vae.decoder)
    assert len(generate(model, 1)) == 1
    with pytest.raises(ModelError, match=f"all images of 2 prompts .*{says}"):
        generate(model, 2)


def line_art(place):
    image = Image.new("RGB", (8, 8), "white")
    image.putpixel((place, place), (0, 0, 0))
    return image


def with_grain(image):
    return Image.eval(image, lambda value: min(value + 2, 255))


LINES = [line_art(place) for place in range(8)]
NOISE, RED, BLACK = Image.effect_noise((8, 8), 50), Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8))


@pytest.mark.parametrize(
    ("images", "texts", "stops"),
    [
        ([RED], "a", False),
        ([RED] * 20, "a" * 20, False),
        ([RED, BLACK], "ab", True),
        ([RED, NOISE], "ab", False),
        ([NOISE] + [RED] * 20, "abcdefghijklmnopqrstu", False),
        ([RED] * 8, "abcdefgh", True),
        ([RED] * 7 + [NOISE], "abcdefgh", False),
        (LINES, "a" * 8, False),
        (LINES, "abcdefgh", True),
        ([*LINES[:7], NOISE], "abcdefgh", False),
        ([NOISE] * 8, "aaaaaaaa", False),
        ([NOISE, with_grain(NOISE)] * 4, "abcdefgh", True),
        ([NOISE] * 7 + [with_grain(with_grain(NOISE))], "abcdefgh", False),
    ],
)
def test_a_run_stops_if_all_images_of_several_prompts_have_the_same_fault(images, texts, stops):
    worthless, seen = WorthlessImages(len({*texts})), []
    try:
        for image, text in zip(images, texts, strict=True):
            worthless.add([image], [text])
            seen.append(text)
    except ModelError:
        assert stops
        assert len({*seen}) == min(8, len({*texts})) - 1
    else:
        assert not stops
