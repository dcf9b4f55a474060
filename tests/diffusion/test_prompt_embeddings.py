"""Prompts are embedded by every family's text encoder, whatever else is in the batch."""

import numpy as np
import pytest

from rsidiff_kedro.diffusion.families import FAMILIES
from rsidiff_kedro.diffusion.opening import embed_prompts
from rsidiff_kedro.diffusion.settings import ModelSettings

PROMPTS = ["a red circle", "a blue circle, a green circle and a red circle"]


@pytest.mark.parametrize("family", FAMILIES.names)
def test_a_prompt_has_one_vector_of_its_own(family_folder, family: str) -> None:
    model = ModelSettings(family=family, base=str(family_folder(family)), device="cpu")
    both, alone = embed_prompts(model, PROMPTS), embed_prompts(model, PROMPTS[:1])
    assert both.dtype == np.float32 and both.ndim == 2 and len(both) == 2
    assert not np.allclose(both[0], both[1], atol=1e-3)
    np.testing.assert_allclose(alone[0], both[0], atol=1e-5)


def test_padding_does_not_count_where_the_encoder_has_a_mask(family_folder) -> None:
    model = ModelSettings(family="sana", base=str(family_folder("sana")), device="cpu")
    opened = FAMILIES.load("sana").open(model)
    read = opened.conditioning(PROMPTS)
    mask = read["prompt_attention_mask"].bool()
    assert not mask.all()
    expected = [states[own].float().mean(0).numpy() for states, own in zip(read["prompt_embeds"], mask, strict=True)]
    np.testing.assert_allclose(embed_prompts(model, PROMPTS), expected, atol=1e-5)
