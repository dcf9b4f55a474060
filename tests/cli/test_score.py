"""`kedro rsi score` scores one image with the rewards of a run, or with others."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from rsidiff_kedro.cli import cli
from rsidiff_kedro.rewards.registry import load_reward

PROMPT = "a red circle on a gray background"
OWN = "def redness(images, prompts):\n    return [image.getpixel((0, 0))[0] for image in images]\n"


@pytest.fixture
def score(project: Path) -> Callable[..., Result]:
    Image.new("RGB", (32, 32), (200, 10, 10)).save(project / "red.png")
    return lambda *arguments: CliRunner().invoke(cli, ["rsi", "score", *arguments])


def test_the_rewards_of_a_run_score_the_image(project: Path, score: Callable[..., Result]) -> None:
    result = score("red.png", PROMPT)
    assert result.exit_code == 0, result.output
    expected = load_reward("proxy").score([Image.open(project / "red.png")], [PROMPT])[0]
    assert result.stdout == f"proxy  {expected:.4f}  (selects in a run)\n"


def test_a_reward_that_only_has_a_floor_is_one_of_a_run(project: Path, score: Callable[..., Result]) -> None:
    result = score("red.png", PROMPT, "--params=preference_selection.floors={oracle: 0}")
    found = re.findall(r"(\w+) +-?\d+\.\d{4}  \((\w+)", result.output)
    assert found == [("proxy", "selects"), ("oracle", "selects")], result.output


def test_named_rewards_score_it_and_nothing_else(
    project: Path, score: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "src" / "my_rewards_of_score.py").write_text(OWN)
    monkeypatch.syspath_prepend(project / "src")
    result = score("red.png", PROMPT, "--reward=oracle", "--reward=my_rewards_of_score:redness")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["oracle", "my_rewards_of_score:redness"]
    assert "200.0000  (held out in a run)" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.png", PROMPT), "none.png"),
        (("red.png", "my cat", "--reward=oracle"), "the reward 'oracle' cannot read the prompt 'my cat'"),
        (("red.png", PROMPT, "--reward=beauty"), "unknown reward 'beauty'; there are proxy, oracle"),
        (("large.png", PROMPT, "--reward=oracle"), "large.png cannot be scored: the judge reads pictures of shape"),
        (("pyproject.toml", PROMPT), "pyproject.toml"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(
    project: Path, score: Callable[..., Result], arguments: tuple[str, ...], said: str
) -> None:
    Image.new("RGB", (64, 64)).save(project / "large.png")
    result = score(*arguments)
    assert result.exit_code == 1 and result.output.startswith("Error: "), result.output
    assert len(result.output.splitlines()) == 1 and said in result.output
