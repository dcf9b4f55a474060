"""Judges: this project's, and one that a user wrote."""

import sys
import uuid
from pathlib import Path

import pytest
from PIL import Image

from rsidiff_kedro.core.registry import PluginError
from rsidiff_kedro.evaluation.judging import JUDGES, JudgeError, judge_readable, load_judge
from rsidiff_kedro.pipelines.common import score_images
from rsidiff_kedro.rewards.settings import RewardsSettings
from rsidiff_kedro.scenes.world.grammar import parse_caption

SOURCE = '''
import pandas as pd


class Bright:
    """Reads prompts of light alone, and finds right what is bright."""

    def can_read(self, prompt):
        return "light" in prompt

    def judge(self, images, prompts):
        assert len(images) == len(prompts) and all(map(self.can_read, prompts))
        bright = [image.convert("L").getpixel((0, 0)) > 127 for image in images]
        return pd.DataFrame({"correct": bright, "attribute_accuracy": 0.5, "hallucinations": 0})
'''
NAN = float("nan")
WHITE, BLACK = (Image.new("RGB", (32, 32), color) for color in ("white", "black"))


@pytest.fixture
def own_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a judge into a module that can be imported; return its name."""
    module = f"own_judge_{uuid.uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield f"{module}:Bright"
    sys.modules.pop(module, None)


def test_a_users_own_judge_decides(own_judge: str) -> None:
    verdicts = judge_readable(own_judge, [WHITE, BLACK], ["a light", "a light"])
    assert verdicts["correct"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("column", "value"),
    [("correct", value) for value in (NAN, None, 2, 0.5, "yes")]
    + [("attribute_accuracy", value) for value in (NAN, 1.5, -0.1, None)]
    + [("hallucinations", value) for value in (NAN, float("inf"), -1, None, 0.5)],
)
def test_a_verdict_that_cannot_be_is_refused(
    own_judge: str, monkeypatch: pytest.MonkeyPatch, column: str, value: object
) -> None:
    kind = load_judge(own_judge).__class__
    judge = kind.judge
    monkeypatch.setattr(kind, "judge", lambda *given: judge(*given).assign(**{column: [0, value]}))
    with pytest.raises(JudgeError, match=f"returned {column} = "):
        judge_readable(own_judge, [WHITE, BLACK], ["a light", "a light"])


@pytest.mark.parametrize("value", [NAN, None, "small", "[1]", "{", {"size": "small"}])
def test_what_a_right_image_leaves_open_is_a_json_object(
    own_judge: str, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    kind = load_judge(own_judge).__class__
    judge = kind.judge
    shown = ['{"size": "small"}', value]
    monkeypatch.setattr(kind, "judge", lambda *given: judge(*given).assign(left_open=shown))
    with pytest.raises(JudgeError, match=r"returned left_open = .* for a right image; return a JSON object"):
        judge_readable(own_judge, [WHITE, WHITE], ["a light", "a light"])
    assert (
        len(judge_readable(own_judge, [WHITE, BLACK], ["a light", "a light"])) == 2
    )  # that of a wrong one is not used


def test_a_judge_without_a_column_is_refused(own_judge: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = load_judge(own_judge).__class__
    judge = kind.judge
    monkeypatch.setattr(kind, "judge", lambda *given: judge(*given).drop(columns="hallucinations"))
    with pytest.raises(JudgeError, match="returned no column 'hallucinations'"):
        judge_readable(own_judge, [WHITE], ["a light"])


def test_images_of_prompts_that_a_judge_cannot_read_are_left_unjudged(own_judge: str) -> None:
    prompts = ["a castle", "a light", "a ship", "light rain"]
    verdicts = judge_readable(own_judge, [WHITE, WHITE, BLACK, BLACK], prompts)
    assert verdicts.index.tolist() == [0, 1, 2, 3]
    assert verdicts.isna().to_numpy().tolist() == [[True] * 3, [False] * 3, [True] * 3, [False] * 3]
    assert verdicts["correct"].dropna().tolist() == [True, False]


def test_a_users_own_judge_stands_in_the_table_of_scores(own_judge: str, scene_images) -> None:
    images = scene_images([parse_caption("a red circle"), parse_caption("a blue square")], 1)
    images.metadata.loc[0, "text"] = "a light"
    scores = score_images(images, [], {}, own_judge, RewardsSettings())
    assert scores["correct"].isna().tolist() == [False, True]
    assert scores["attribute_accuracy"][0] == 0.5


def test_prompts_of_which_a_judge_can_read_none_are_refused(own_judge: str) -> None:
    with pytest.raises(
        JudgeError, match=r"own_judge_\w+:Bright', which .* \(the first: 'a castle'\); set evaluation\.judge=null"
    ):
        judge_readable(own_judge, [WHITE, BLACK], ["a castle", "a ship"])


def test_prompts_that_are_no_captions_are_left_unjudged_by_the_scenes_judge(scene_images) -> None:
    images = scene_images([parse_caption("a red circle")], 2).images
    verdicts = judge_readable("scenes", images, ["a red circle", "a castle at dawn"])
    assert verdicts["correct"].isna().tolist() == [False, True]
    assert verdicts["correct"][0]


def test_prompts_of_which_none_is_a_caption_are_refused(scene_images) -> None:
    images = scene_images([parse_caption("a red circle")], 2).images
    with pytest.raises(ValueError, match=r"set evaluation\.judge=null"):
        judge_readable("scenes", images, ["a castle", "a ship"])


def test_an_unknown_judge_is_answered_with_those_there_are() -> None:
    assert JUDGES.names == ("scenes",)
    with pytest.raises(PluginError, match=r"unknown judge 'scene'; there are scenes; your own is package\.module"):
        load_judge("scene")
