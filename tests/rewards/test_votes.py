"""The reward of votes: a Bradley-Terry head on another reward's features."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from another_host import HOST, hold_elsewhere
from PIL import Image
from pydantic import ValidationError

from rsidiff_kedro.core.file_lock import take_lock
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.votes import LOCK, Votes, VotesError, write_table
from rsidiff_kedro.rewards import votes as votes_reward
from rsidiff_kedro.rewards.bradley_terry import PENALTIES, fit_head, held_out_margins
from rsidiff_kedro.rewards.registry import check_reward, load_reward
from rsidiff_kedro.rewards.settings import RewardsSettings, VotesSettings
from rsidiff_kedro.scenes.plugins.proxy import ProxyReward

GiveVotes = Callable[..., Votes]


def brightness(image: Image.Image) -> float:
    return float(np.asarray(image).mean())


def options(votes: Path, **settings: Any) -> dict[str, Any]:
    return RewardsSettings(votes=VotesSettings(votes=votes, **{"features": "proxy"} | settings)).options("votes")


def test_it_prefers_what_the_votes_prefer_in_images_without_a_vote(
    give_votes: GiveVotes, scenes_on_disk: ImageSet
) -> None:
    votes = give_votes(brightness, 24)  # one of the three pairs of each prompt
    reward = load_reward("votes", **options(votes.folder))
    scores = reward.score(scenes_on_disk.images, scenes_on_disk.metadata["text"].tolist())
    assert scores.dtype == np.float32
    bright, dark = scores.reshape(24, 3)[:, 0], scores.reshape(24, 3)[:, 2]
    assert (bright > dark).mean() > 0.9
    opposite = load_reward("votes", **options(give_votes(lambda image: -brightness(image), 24, "2").folder))
    assert opposite.score(scenes_on_disk.images, scenes_on_disk.metadata["text"].tolist()) == pytest.approx(-scores)


def test_its_record_tells_what_it_was_fitted_on(give_votes: GiveVotes) -> None:
    votes = give_votes(brightness, 24)
    fitted = load_reward("votes", **options(votes.folder)).record["fitted_on"]
    assert fitted == {"votes": 24, "sha256": votes.digest, "features": "proxy", "penalty": fitted["penalty"]}
    assert fitted["penalty"] in PENALTIES


def test_it_is_fitted_without_all_images_of_the_votes_in_memory(
    give_votes: GiveVotes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, embed, calls = options(give_votes(brightness, 24).folder, penalty=1.0), ProxyReward.embed, list[int]()
    expected = load_reward("votes", **found)

    def counted(self: ProxyReward, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        calls.append(len(images))
        return embed(self, images, prompts)

    monkeypatch.setattr(ProxyReward, "embed", counted)
    monkeypatch.setattr(votes_reward, "AT_ONCE", 20)
    blank = [Image.new("RGB", (32, 32), (level, 0, 0)) for level in (0, 100, 200)]
    scores = [each.score(blank, ["a red dog"] * 3) for each in (load_reward("votes", **found), expected)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    assert calls[:3] == [20, 20, 8]


def test_a_score_is_in_log_odds() -> None:
    rng = np.random.default_rng(0)
    differences, true = rng.normal(size=(20_000, 3)), np.array([2.0, -1.0, 0.0])
    won = rng.random(20_000) < 1 / (1 + np.exp(-differences @ true))
    head = fit_head(differences, won, ["p"] * 20_000, penalty=1e-3)
    assert head.weights == pytest.approx(true, abs=0.1)


def test_one_side_that_always_won_is_no_preference_for_a_side() -> None:
    differences = np.random.default_rng(0).normal(loc=[3, 0], size=(40, 2))
    left = fit_head(differences, np.ones(40, bool), ["p"] * 40, 1.0)
    right = fit_head(-differences, np.zeros(40, bool), ["p"] * 40, 1.0)
    assert left.weights == pytest.approx(right.weights)


def test_cross_validation_penalizes_noise_more() -> None:
    rng = np.random.default_rng(0)
    differences, prompts = rng.normal(size=(100, 30)), [f"p{number // 2}" for number in range(100)]
    clear = fit_head(differences, differences[:, 0] > 0, prompts)
    noise = fit_head(differences, rng.random(100) < 0.5, prompts)
    assert clear.penalty < noise.penalty


def test_a_held_out_margin_has_not_seen_its_prompt() -> None:
    rng = np.random.default_rng(0)
    differences, won = rng.normal(size=(60, 40)), rng.random(60) < 0.5
    prompts = [f"p{number // 3}" for number in range(60)]
    seen = differences @ fit_head(differences, won, prompts, 1.0).weights
    assert ((seen > 0) == won).mean() >= 0.9
    assert ((held_out_margins(differences, won, prompts, 1.0) > 0) == won).mean() < 0.7


@pytest.mark.parametrize(
    ("count", "settings", "said"),
    [
        (19, {}, "19 votes in .* prefer an image; rewards.votes.min_votes asks for 20"),
        (4, {"min_votes": 2}, "are on 4 prompts, and cross-validation needs 5; .* or set rewards.votes.penalty"),
    ],
)
def test_too_few_votes_are_refused_before_anything_is_computed(
    give_votes: GiveVotes, count: int, settings: dict[str, Any], said: str
) -> None:
    found = options(give_votes(brightness, count).folder, **settings)
    for opened in (check_reward, load_reward):
        with pytest.raises(VotesError, match=said):
            opened("votes", **found)


def test_votes_for_neither_do_not_count(give_votes: GiveVotes) -> None:
    with pytest.raises(VotesError, match="0 votes in"):
        check_reward("votes", **options(give_votes(None, 30).folder))


def test_no_votes_and_damaged_votes_are_refused(give_votes: GiveVotes, tmp_path: Path) -> None:
    with pytest.raises(VotesError, match=r"there are no votes in .*; give some with `kedro rsi label`"):
        check_reward("votes", **options(tmp_path / "nothing"))
    votes = give_votes(brightness, 24)
    lost = votes.table["left_file"].iloc[0]
    write_table(votes.table.assign(left_file="../../secret.png"), votes.folder)
    with pytest.raises(VotesError, match=r"names the image '../../secret.png', which is no digest"):
        check_reward("votes", **options(votes.folder))
    write_table(votes.table.assign(winner="both"), votes.folder)
    with pytest.raises(VotesError, match="has a winner that is none of left, right and tie"):
        check_reward("votes", **options(votes.folder))
    write_table(votes.table, votes.folder)
    (votes.folder / "images" / lost).unlink()
    with pytest.raises(VotesError, match=f"lacks 1 of the 48 images that votes.parquet names, {lost} first"):
        check_reward("votes", **options(votes.folder))
    (votes.folder / "votes.parquet").write_bytes(b"PAR1")
    with pytest.raises(VotesError, match="is no readable Parquet file"):
        check_reward("votes", **options(votes.folder))


def test_features_that_do_not_exist_are_refused(give_votes: GiveVotes) -> None:
    votes = give_votes(brightness, 24).folder
    with pytest.raises(ValueError, match="unknown features 'oracle'"):
        check_reward("votes", **options(votes, features="oracle"))
    with pytest.raises(ValidationError, match="name the features of another reward"):
        VotesSettings(features="votes")


def test_a_run_does_not_begin_while_votes_are_given(give_votes: GiveVotes, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = give_votes(brightness, 24)
    path = votes.folder.parents[1] / LOCK
    lock = take_lock(path)
    assert lock is not None
    with pytest.raises(VotesError, match=f"votes are being given to .* label` first: .*`fuser {path}`"):
        check_reward("votes", **options(votes.folder))
    lock.release()
    check_reward("votes", **options(votes.folder))
    marker = hold_elsewhere(path, monkeypatch)
    with pytest.raises(VotesError, match=f"on the host {HOST} .* delete {marker}"):
        check_reward("votes", **options(votes.folder))


def test_a_dataset_means_its_newest_version_when_the_parameters_are_read(give_votes: GiveVotes) -> None:
    older = give_votes(brightness, 24).folder
    dataset = older.parents[1]
    settings = VotesSettings(votes=Path(dataset.name), features="proxy").within(dataset.parent)
    assert settings.votes == older
    newer = give_votes(brightness, 30, "2").folder
    assert VotesSettings(votes=dataset, features="proxy").within(Path()).votes == newer
    assert settings.within(Path()).votes == older  # one that is chosen stays
    shutil.rmtree(newer)
