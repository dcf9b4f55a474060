"""Pairs are random from a seed, one of each prompt first, and none that has a vote."""

import pytest

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.votes import VotesError
from rsidiff_kedro.labelling.pairs import choose_pairs


def test_every_pair_of_a_prompt_comes_once_and_first_one_of_each_prompt(scenes_on_disk: ImageSet) -> None:
    pairs = choose_pairs(scenes_on_disk, 0, 1)
    assert len({frozenset(pair.ids) for pair in pairs}) == len(pairs) == 24 * 3
    for turn in range(3):
        assert len({pair.prompt_id for pair in pairs[24 * turn : 24 * (turn + 1)]}) == 24
    assert all(path.stem == name for pair in pairs for path, name in zip(pair.paths, pair.ids))


def test_order_and_sides_follow_from_the_seed_and_the_round(scenes_on_disk: ImageSet) -> None:
    first = choose_pairs(scenes_on_disk, 0, 1)
    assert choose_pairs(scenes_on_disk, 0, 1) == first
    for other in (choose_pairs(scenes_on_disk, 1, 1), choose_pairs(scenes_on_disk, 0, 2)):
        assert [pair.prompt_id for pair in other] != [pair.prompt_id for pair in first]
        assert {frozenset(pair.ids) for pair in other} == {frozenset(pair.ids) for pair in first}
    turned = sum(pair.ids != tuple(sorted(pair.ids)) for pair in first)
    assert 20 < turned < 52


def test_pairs_with_a_vote_are_left_out_and_the_others_keep_their_order(scenes_on_disk: ImageSet) -> None:
    pairs = choose_pairs(scenes_on_disk, 0, 1)
    voted = {frozenset(pair.ids) for pair in pairs[:5]}
    assert choose_pairs(scenes_on_disk, 0, 1, voted) == pairs[5:]


def test_of_more_pairs_than_anybody_looks_at_one_of_each_prompt_comes_first(
    scenes_on_disk: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rsidiff_kedro.labelling.pairs.MOST", 30)
    pairs = choose_pairs(scenes_on_disk, 0, 1)
    assert len(pairs) == 30 and len({pair.prompt_id for pair in pairs[:24]}) == 24
    monkeypatch.setattr("rsidiff_kedro.labelling.pairs.MOST", 10)
    assert len({pair.prompt_id for pair in choose_pairs(scenes_on_disk, 0, 1)}) == 10


def test_one_image_per_prompt_makes_no_pair(scenes_on_disk: ImageSet) -> None:
    with pytest.raises(VotesError, match="samples_per_prompt=2 or more"):
        choose_pairs(scenes_on_disk.select(range(0, 72, 3)), 0, 1)


def test_samples_that_were_dropped_early_are_not_shown(scenes_on_disk: ImageSet) -> None:
    """They are not finished."""
    metadata = scenes_on_disk.metadata
    dropped = metadata.assign(dropped=metadata["sample_index"] == 0)
    images = ImageSet(dropped, scenes_on_disk.images, scenes_on_disk.latents)
    shown = {name for pair in choose_pairs(images, 0, 1) for name in pair.ids}
    assert shown == {*metadata.loc[metadata["sample_index"] > 0, "image_id"]}
