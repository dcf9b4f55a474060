"""A conditioning is a mapping of named tensors, whatever their number and shapes."""

import pytest
import torch

from rsidiff_kedro.diffusion.conditioning import Conditioning, join_conditionings


@pytest.fixture
def conditioning() -> Conditioning:
    """Return three prompts' conditioning: states, pooled embeddings and one number per prompt."""
    return Conditioning(
        {
            "prompt_embeds": torch.arange(3 * 2 * 4.0).reshape(3, 2, 4),
            "pooled_prompt_embeds": torch.arange(3 * 5.0).reshape(3, 5),
            "length": torch.tensor([1, 2, 3]),
        }
    )


@pytest.fixture
def other() -> Conditioning:
    """Return one prompt's conditioning of the same shapes."""
    return Conditioning(
        {
            "prompt_embeds": torch.full((1, 2, 4), -1.0),
            "pooled_prompt_embeds": torch.full((1, 5), -2.0),
            "length": torch.tensor([-3]),
        }
    )


def equal(one: Conditioning, other: Conditioning) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(one[name], other[name]) for name in one.tensors
    )


def test_its_length_is_the_number_of_prompts(conditioning, other):
    assert (len(conditioning), len(other)) == (3, 1)


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), slice(1, 3)])
def test_rows_takes_the_same_prompts_of_every_tensor(conditioning, rows):
    chosen = conditioning.rows(rows)
    assert len(chosen) == 2
    assert all(torch.equal(chosen[name], conditioning[name][rows]) for name in conditioning.tensors)


def test_joining_its_parts_gives_it_back(conditioning):
    assert equal(join_conditionings(conditioning.rows(slice(row, row + 1)) for row in range(3)), conditioning)


def test_repeat_gives_each_sample_the_same_and_copies_no_memory(other):
    repeated = other.repeat(4)
    assert len(repeated) == 4
    assert equal(repeated, join_conditionings([other] * 4))
    assert all(repeated[name].data_ptr() == other[name].data_ptr() for name in other.tensors)


def test_replace_changes_the_rows_of_the_mask_alone(conditioning, other):
    replaced = conditioning.replace(torch.tensor([True, False, True]), other)
    assert equal(replaced.rows(torch.tensor([0, 2])), other.repeat(2))
    assert equal(replaced.rows(torch.tensor([1])), conditioning.rows(torch.tensor([1])))
    assert equal(conditioning.replace(torch.tensor([False] * 3), other), conditioning)


def test_zeros_has_the_same_names_shapes_and_types(conditioning):
    zeros = conditioning.zeros()
    assert equal(zeros, Conditioning({name: torch.zeros_like(value) for name, value in conditioning.tensors.items()}))
    assert conditioning["length"].tolist() == [1, 2, 3]


def test_to_moves_every_tensor(conditioning):
    assert {value.device.type for value in conditioning.to(torch.device("meta")).tensors.values()} == {"meta"}
