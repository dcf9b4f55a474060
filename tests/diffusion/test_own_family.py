"""A family of one's own is a class in a file on Python's path; `model.options` are the family's own settings."""

import textwrap

import numpy as np
import pandas as pd
import pytest

from rsidiff_kedro.core.registry import Registry
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion import families
from rsidiff_kedro.diffusion.bases import ModelError
from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.opening import check_loss, check_model, family_of, load_model, open_tokenizer
from rsidiff_kedro.diffusion.sampling import sample_images
from rsidiff_kedro.diffusion.settings import FinetuneSettings, ModelSettings, SamplerSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter

OWN = """
    from rsidiff_kedro.core.section import Section
    from rsidiff_kedro.diffusion.families.stable_diffusion import StableDiffusion


    class Options(Section):
        suffix: str = ""
        clip_skip: int = 0


    class Suffixed(StableDiffusion):
        Options = Options

        def __init__(self, pipeline, settings):
            super().__init__(pipeline, settings)
            self.suffix = self.options_of(settings).suffix

        def encode_prompts(self, texts):
            return super().encode_prompts([text + self.suffix if text else text for text in texts])
"""
FAMILY = "my_family:Suffixed"
PROMPTS = pd.DataFrame({"prompt_id": ["aa", "bb"], "text": ["a red circle", "a blue square"]})
SETTINGS = FinetuneSettings(rank=2, steps=2, batch_size=2, min_snr_gamma=5.0)


@pytest.fixture
def own(tmp_path, monkeypatch, family_folder):
    """Return a function that makes settings of the family in `my_family.py`, which lies on Python's path."""
    (tmp_path / "my_family.py").write_text(textwrap.dedent(OWN))
    monkeypatch.syspath_prepend(tmp_path)

    def settings(**options):
        return ModelSettings(family=FAMILY, base=str(family_folder("stable_diffusion")), options=options)

    return settings


def generate(model, prompts=PROMPTS):
    sampler = SamplerSettings(num_inference_steps=2, micro_batch_size=2)
    return sample_images(load_model(model), None, prompts, 1, sampler, 0, "test", "generating")


def test_it_passes_the_checks_before_a_run(own):
    check_model(own(suffix=" on black"))
    check_loss(own(), SETTINGS)
    assert family_of(own()).__name__ == "Suffixed"


def test_an_installed_family_that_cannot_be_imported_is_in_nobodys_way(own, family_folder, monkeypatch):
    broken = Registry(FAMILIES.kind, FAMILIES.group, FAMILIES._own | {"vermeer": "no_such_painters:Vermeer"})
    monkeypatch.setattr(families, "FAMILIES", broken)
    check_model(own())
    with pytest.raises(ModelError, match=r"set model\.family=stable_diffusion$"):
        check_model(own().model_copy(update={"family": "stable_diffusion_xl"}))


def test_it_generates_and_trains(own):
    model = own()
    images = generate(model)
    training_set = TrainingSet(images.metadata.assign(round=1, weight=1.0), images.latents)
    parent = initial_adapter(load_model(model), SETTINGS, 0)
    adapter, log = finetune(load_model(model), parent, training_set, SETTINGS, 0, 1)
    assert adapter.digest != parent.digest
    assert np.isfinite(log["loss"]).all()


def test_its_options_and_methods_are_used(own):
    suffixed, plain = generate(own(suffix=" on black")), generate(own())
    by_hand = generate(own(), PROMPTS.assign(text=PROMPTS["text"] + " on black"))
    assert not suffixed.latents.equal(plain.latents)
    assert suffixed.latents.equal(by_hand.latents)


@pytest.mark.parametrize("attempt", [check_model, load_model, open_tokenizer])
def test_an_option_that_its_family_does_not_have_is_answered_with_those_it_has(own, family_folder, attempt):
    xl, sd3 = (str(family_folder(name)) for name in ("stable_diffusion_xl", "stable_diffusion_3"))
    for model, said in (
        (
            own(sufix=" on black"),
            "model.options: unknown parameter .sufix.; .*; options of my_family:Suffixed: suffix, clip_skip$",
        ),
        (ModelSettings(family="stable_diffusion_3", base=sd3, options={"t6": 1}), "_3: t5, max_sequence_length$"),
        (ModelSettings(family="stable_diffusion_xl", base=xl, options={"t5": False}), "_xl: none$"),
    ):
        with pytest.raises(ModelError, match=said):
            attempt(model)


def test_a_text_encoder_that_is_there_reads_something(family_folder):
    base, options = str(family_folder("stable_diffusion_3")), {"max_sequence_length": 0}
    with pytest.raises(ModelError, match="max_sequence_length is 0, but the model has a T5; set it to 1 or more"):
        load_model(ModelSettings(family="stable_diffusion_3", base=base, options=options))


def test_an_option_of_a_wrong_value_is_named_with_it(own):
    with pytest.raises(
        ModelError, match=r"model\.options: parameter .clip_skip. is .many.: input should be a valid integer"
    ):
        check_model(own(clip_skip="many"))


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("no_such_module_at_all:Suffixed", "cannot be imported"),
        ("my_family:Sufixed", "module my_family defines no 'Sufixed'"),
        ("my_family", "unknown model family 'my_family'; there are stable_diffusion, "),
    ],
)
def test_a_family_that_cannot_be_imported_is_refused(own, family, said):
    with pytest.raises(ModelError, match=rf"^model\.family: .*{said}"):
        check_model(own().model_copy(update={"family": family}))
