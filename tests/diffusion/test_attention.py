"""Attention in float32 within a training in bfloat16."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from rsidiff_kedro.diffusion.attention import Float32Attention

NOISE = torch.Generator().manual_seed(0)
QUERY, KEY, VALUE = (torch.randn((2, 3, 8, 4), generator=NOISE).bfloat16() for _ in range(3))
MASK = torch.zeros(8, 8).masked_fill(torch.ones(8, 8).triu(1).bool(), -torch.inf)


@pytest.mark.parametrize(
    ("given", "named"),
    [((QUERY, KEY, VALUE), {}), ((), {"query": QUERY, "key": KEY, "value": VALUE}), ((QUERY, KEY, VALUE, MASK), {}),
     ((QUERY, KEY, VALUE, None, 0.0, True), {}), ((QUERY, KEY), {"value": VALUE, "is_causal": True})],
)  # fmt: skip
def test_attention_is_computed_in_float32_and_returned_as_it_came(given, named):
    causal = len(given) > 3 or "is_causal" in named
    wanted = scaled_dot_product_attention(QUERY.float(), KEY.float(), VALUE.float(), is_causal=causal)
    with Float32Attention(), torch.autocast("cpu", torch.bfloat16):
        found = scaled_dot_product_attention(*given, **named)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted.bfloat16())


def test_gradients_are_those_of_float32_and_nothing_else_changes():
    narrow = [each.clone().requires_grad_() for each in (QUERY, KEY, VALUE)]
    wide = [each.float().requires_grad_() for each in (QUERY, KEY, VALUE)]
    with Float32Attention():
        scaled_dot_product_attention(*narrow).sum().backward()
        assert torch.equal(QUERY @ KEY.mT, torch.matmul(QUERY, KEY.mT))
        assert (QUERY @ KEY.mT).dtype == torch.bfloat16
    scaled_dot_product_attention(*wide).bfloat16().sum().backward()
    for one, other in zip(narrow, wide, strict=True):
        assert one.grad is not None and other.grad is not None
        assert torch.equal(one.grad, other.grad.bfloat16())
