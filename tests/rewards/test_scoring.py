"""A table's scores: one column per reward, with the record of how it was made, and no score that is no number."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io.core import Version
from kedro_datasets.pandas import ParquetDataset
from parity import samples
from PIL import Image
from pydantic import ValidationError

from rsidiff_kedro.core.locations import located
from rsidiff_kedro.rewards import scoring
from rsidiff_kedro.rewards.checkpoints import CheckpointError
from rsidiff_kedro.rewards.scoring import ScoreError, with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.scenes.plugins.proxy import ProxyReward

TABLE = pd.DataFrame({"image_id": ["a", "b"], "prompt_id": ["p", "p"], "text": ["a red dog"] * 2})
IMAGES = samples.images()[:2]


@pytest.fixture
def settings(folder: Path) -> RewardsSettings:
    return RewardsSettings(
        device="cpu",
        hpsv2={"checkpoint": str(folder / "hpsv2_1"), "tokenizer": str(folder / "clip_tokenizer")},
        image_reward={"checkpoint": str(folder / "image_reward"), "tokenizer": str(folder / "bert_tokenizer")},
    )


def test_each_reward_has_its_column_and_the_table_stays(settings):
    scored = with_scores(TABLE, IMAGES, ["hpsv2_1", "image_reward", "hpsv2_1"], settings)
    assert list(scored.columns) == [*TABLE.columns, "hpsv2_1", "image_reward"]
    assert (scored.dtypes[["hpsv2_1", "image_reward"]] == np.float32).all()
    assert "hpsv2_1" not in TABLE


def test_without_images_nothing_is_opened():
    nowhere = RewardsSettings(hpsv2={"checkpoint": "/nowhere"})
    scored = with_scores(TABLE.head(0), [], ["hpsv2_1"], nowhere)
    assert scored["hpsv2_1"].dtype == np.float32
    assert len(scored) == 0


def test_how_a_score_was_made_survives_the_catalogs_parquet(settings, folder, tmp_path):
    changed = settings.model_copy(update={"hpsv2": settings.hpsv2.model_copy(update={"antialias": True})})
    dataset = ParquetDataset(filepath=str(tmp_path / "scores.parquet"), version=Version(None, "2026-01-01"))
    dataset.save(with_scores(TABLE, IMAGES, ["hpsv2_1", "proxy"], changed))
    records = dataset.load().attrs["rewards"]
    path = folder / "hpsv2_1" / "HPS_v2.1_compressed.pt"
    assert records["proxy"] == {}
    assert records["hpsv2_1"] == {
        "checkpoint": str(folder / "hpsv2_1"),
        "revision": None,
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tokenizer": str(folder / "clip_tokenizer"),
        "device": "cpu",
        "dtype": "float32",
        "micro_batch_size": 8,
        "antialias": True,
    }


@pytest.mark.parametrize("name", ["hpsv2_1", "image_reward"])
@pytest.mark.parametrize("sees", [True, False])
def test_weights_that_are_no_numbers_are_found_in_the_scores_and_of_a_text_encoder_before(
    settings, folder, tmp_path, name, sees
):
    path = next((folder / name).glob("*.pt"))
    stored = torch.load(path, weights_only=True)
    tensors = stored.get("state_dict", stored)
    spoilt = {True: "visual", False: {"hpsv2_1": "token_embedding", "image_reward": "text_encoder"}[name]}[sees]
    next(each for key, each in tensors.items() if spoilt in key and each.dim() == 2)[:] = float("nan")
    torch.save(stored, tmp_path / path.name)
    (tmp_path / "config.json").write_text((path.parent / "config.json").read_text())
    section = "hpsv2" if name == "hpsv2_1" else name
    part = getattr(settings, section).model_copy(update={"checkpoint": str(tmp_path)})
    found = f"'{name}' is NaN or infinite for 2 of 2 images, first a" if sees else "or none that are finite"
    with pytest.raises(ScoreError if sees else CheckpointError, match=found):
        with_scores(TABLE, IMAGES, [name], settings.model_copy(update={section: part}))


def test_each_name_gets_its_section_and_how_to_compute():
    settings = RewardsSettings(dtype="bfloat16", micro_batch_size=3)
    assert settings.options("hpsv2_0") == settings.options("hpsv2_1")
    assert settings.options("hpsv2_1").keys() == {
        *("checkpoint", "revision", "tokenizer", "antialias", "device", "dtype", "micro_batch_size")
    }
    assert settings.options("image_reward")["dtype"] == "bfloat16"
    assert settings.options("proxy") == settings.options("oracle") == {}


def test_relative_paths_are_taken_from_the_project_and_ids_stay(tmp_path):
    (tmp_path / "weights" / "hps").mkdir(parents=True)
    given = RewardsSettings(hpsv2={"checkpoint": "weights/hps"}, clip_score={"checkpoint": "a" * 5000})
    settings = located(given, tmp_path)
    assert settings.hpsv2.checkpoint == str(tmp_path / "weights" / "hps")
    assert settings.image_reward.checkpoint == "THUDM/ImageReward"


def test_a_setting_that_there_is_not_is_refused():
    with pytest.raises(ValidationError):
        RewardsSettings(hpsv2={"antialiasing": True})
    with pytest.raises(ValidationError):
        RewardsSettings(device="gpu")


def test_scores_that_a_killed_run_kept_are_not_computed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "SHARD_SIZE", 2)
    settings = RewardsSettings(micro_batch_size=2)
    table = pd.DataFrame({"image_id": list("abcdef"), "prompt_id": "p", "text": [f"a red {what}" for what in "abcdef"]})
    images = [Image.new("RGB", (32, 32), (number * 40, 0, 0)) for number in range(6)]
    whole = with_scores(table, images, ["proxy"], settings)
    score, calls = ProxyReward.score, []

    def killed(self, *args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(self, *args)

    monkeypatch.setattr(ProxyReward, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        with_scores(table, images, ["proxy"], settings, tmp_path)
    (tmp_path / "proxy_0.safetensors").write_bytes(b"12")  # a damaged file is as good as none
    resumed = with_scores(table, images, ["proxy"], settings, tmp_path)
    assert len(calls) == 3 + 2
    pd.testing.assert_frame_equal(resumed, whole)
