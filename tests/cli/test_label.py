"""`kedro rsi label`: a process of its own with its page, killed and continued; the summary; errors."""

import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from another_host import HOST, hold_elsewhere
from click.testing import Result
from kedro_process import KedroProcess
from playwright.sync_api import Browser, Page, expect

from rsidiff_kedro.core.file_lock import take_lock
from rsidiff_kedro.core.votes import Votes, newest_votes, read_votes

Rsi = Callable[..., Result]


@pytest.fixture
def votes(finished_project: Path) -> Iterator[Path]:
    """The dataset's folder in the finished project, which other tests get without votes."""
    folder = finished_project / "data/test/votes"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page()
    yield opened
    opened.close()


def label(project: Path) -> KedroProcess:
    return KedroProcess(project, ["rsi", "label", "--env=test", "--round=1"], os.environ)


def address(process: KedroProcess) -> str:
    """Return the page's address, once the process has printed it."""
    for line in process.stdout:
        if found := re.match(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", line):
            return found[0]
    raise AssertionError("no page was opened")


def vote(page: Page, *keys: str) -> None:
    for number, key in enumerate(keys, start=1):
        expect(page.locator("main")).to_have_attribute("aria-busy", "false")
        page.keyboard.press(key)
        expect(page.locator("#progress")).to_contain_text(f"votes: {number};")


def test_a_killed_session_loses_no_vote_and_the_next_continues(
    rsi: Rsi, finished_project: Path, votes: Path, page: Page
) -> None:
    with label(finished_project) as process:
        page.goto(address(process))
        vote(page, "ArrowLeft", "ArrowRight")
        process.send_signal(9)
    killed = newest_votes(votes)
    assert read_votes(killed).table["winner"].tolist() == ["left", "right"]
    with label(finished_project) as process:
        page.goto(address(process))
        expect(page.locator("#progress")).to_contain_text("votes: 0; pair 1 of 4")  # six pairs, and two have a vote
        vote(page, "ArrowDown")
        page.locator("#finish").click()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Votes given: 1\n3 votes on 3 prompts: 2 prefer an image, 1 neither" in output
    assert re.search(r"reward proxy \(selects\)  [01]\.\d{3} \[.*\] of 2\n  the judge ", output)
    table = read_votes(newest_votes(votes)).table
    assert table["winner"].tolist() == ["left", "right", "tie"] and newest_votes(votes) != killed
    assert set(table["round"]) == {1} and table["prompt_id"].nunique() == 3
    assert "3 votes on 3 prompts" in rsi("label", "--summary").output
    assert "votes" not in rsi("runs").output  # they are no run's


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--summary",), "there are no votes in"),
        (("--round=9",), "there is no round '9' in the run"),
        (("--env=sd14",), "has trained a round"),
        (("--summary", "--reward=beauty"), "unknown reward 'beauty'"),
    ],
)
def test_what_cannot_be_voted_on_or_compared_is_refused_in_one_line(
    rsi: Rsi, votes: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = rsi("label", *arguments)
    assert result.exit_code == 1 and result.output.startswith("Error: "), result.output
    assert len(result.output.splitlines()) == 1 and said in result.output
    assert newest_votes(votes) == votes


def test_beside_votes_without_versions_none_are_given(
    rsi: Rsi, votes: Path, give_votes: Callable[..., Votes], tmp_path: Path
) -> None:
    shutil.copytree(give_votes(None, 2).folder, votes)
    result = rsi("label", "--round=1")
    assert result.exit_code == 1 and result.output.startswith(f"Error: {votes} holds votes without versions")
    assert "2 votes on 2 prompts" in rsi("label", "--summary").output


def test_a_port_that_is_taken_is_said(rsi: Rsi, votes: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = rsi("label", "--round=1", f"--port={taken.getsockname()[1]}")
    assert result.exit_code == 2 and "choose another --port" in result.output
    assert newest_votes(votes) == votes


def test_a_second_session_waits_for_the_first_to_end(rsi: Rsi, votes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    votes.mkdir()
    lock = take_lock(votes / ".lock")
    assert lock is not None
    said = rsi("label", "--round=1").output
    assert "another `kedro rsi label` writes to" in said and f"(`fuser {votes}/.lock` shows its number)" in said
    lock.release()
    marker = hold_elsewhere(votes / ".lock", monkeypatch)
    said = rsi("label", "--round=1").output
    assert f" on the host {HOST}" in said and f"(if it has ended, delete {marker})" in said
