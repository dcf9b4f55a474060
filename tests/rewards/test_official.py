"""The official packages score in a process of their own, and what is wrong with it is said in one line.

The packages' environment is built by `make official-rewards`; without it, only the process is tested.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from parity import samples

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
from rsidiff_kedro.rewards import official
from rsidiff_kedro.rewards.official import OfficialError, Worker
from rsidiff_kedro.rewards.registry import check_reward, load_features, load_reward
from rsidiff_kedro.rewards.settings import RewardsSettings

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "data/parity/official/bin/python"
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
needs_packages = pytest.mark.skipif(not PYTHON.is_file(), reason="`make official-rewards` was not run")
BOTH = ["hpsv2_1", "image_reward"]


def with_official(options, name, python=PYTHON):
    files = {key: options[name][key] for key in ("checkpoint", "tokenizer")}
    section = {"image_reward": "image_reward"}.get(name, "hpsv2")
    return RewardsSettings(**{section: {**files, "implementation": "official"}}, device="cpu", official_python=python)


@pytest.fixture
def program(tmp_path):
    """`program(lines)`: a program of these lines in place of the environment's Python."""

    def write(lines):
        path = tmp_path / "python"
        path.write_text(f"#!{sys.executable}\nimport sys, time\n{lines}\n")
        path.chmod(0o700)
        return path

    return write


@needs_packages
@pytest.mark.parametrize("name", BOTH)
def test_the_official_package_scores_in_its_own_process(options, name):
    reward = load_reward(name, **with_official(options, name).options(name))
    images, prompts = samples.images(), samples.PROMPTS[:2]
    scores = reward.score(images * 2, [prompt for prompt in prompts for _ in images])
    np.testing.assert_allclose(scores, np.array(GOLDEN[name][: len(scores)], np.float32), atol=1e-6)
    assert reward.record["official"]["image-reward"] == "1.5"
    process = reward._worker._process
    assert process.poll() is None
    with pytest.raises(OfficialError, match=f"{name} failed: (FileNotFoundError|UnboundLocalError)"):
        reward._worker.ask({"images": ["nowhere.png"], "prompts": ["a cat"]})
    assert process.poll() is not None


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("python", [Path("nowhere/python"), Path(sys.executable)])
def test_without_the_environment_the_command_that_builds_it_is_named(options, name, python):
    message = r"implementation is official, and .* is no environment .* build it with `make official-rewards`"
    with pytest.raises(OfficialError, match=message):
        check_reward(name, **with_official(options, name, python).options(name))


def test_the_real_worker_says_which_package_is_missing(options, monkeypatch):
    monkeypatch.setattr(official, "_check_environment", lambda python, setting: None)
    with pytest.raises(OfficialError, match=r"hpsv2_1 failed: ModuleNotFoundError: No module named 'hpsv2'"):
        load_reward("hpsv2_1", **with_official(options, "hpsv2_1", Path(sys.executable)).options("hpsv2_1"))


def test_official_images_are_shrunk_in_one_way_only(options):
    settings = with_official(options, "hpsv2_1")
    settings = settings.model_copy(update={"hpsv2": settings.hpsv2.model_copy(update={"antialias": True})})
    with pytest.raises(OfficialError, match="antialias is true"):
        check_reward("hpsv2_1", **settings.options("hpsv2_1"))


def test_the_official_package_gives_no_features(options):
    with pytest.raises(InputError, match="returns scores and no features"):
        load_features("hpsv2_1", **with_official(options, "hpsv2_1").options("hpsv2_1"))


def test_the_implementation_counts_in_a_steps_key_and_the_environments_place_does_not():
    class Tree(Section):
        rewards: RewardsSettings

    native = RewardsSettings()
    official = RewardsSettings(hpsv2={"implementation": "official"})
    moved = RewardsSettings(official_python="/elsewhere/python")
    keys = [KeyedParameters(Tree(rewards=each)).of_step({"rewards": each}) for each in (native, official, moved)]
    assert keys[0] == keys[2] != keys[1]


def test_native_models_are_opened_as_before(options):
    settings = RewardsSettings(hpsv2={key: options["hpsv2_1"][key] for key in ("checkpoint", "tokenizer")})
    assert not {"implementation", "official_python"} & settings.options("hpsv2_1").keys()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("sys.stderr.write('no memory\\n'); sys.exit(3)", r"ended \(its last words: no memory\)"),
        ("print('hello', flush=True); time.sleep(60)", "answered b'hello"),
        ("print('[]', flush=True); time.sleep(60)", r"failed: \[\]"),
        ("print('x' * 3_000_000, flush=True); time.sleep(60)", "answered with too long a line"),
        ("time.sleep(60)", "did not answer within 1 seconds"),
        ("""sys.stdout.write('{"scores": [1]'); sys.stdout.flush()""", "ended"),
    ],
)
def test_a_worker_that_does_not_answer_is_ended_and_its_words_shown(program, monkeypatch, lines, said):
    monkeypatch.setattr(official, "PATIENCE", 1 if "within 1" in said else 60)
    worker = Worker(program(lines), "hpsv2_1", "cpu")
    with pytest.raises(OfficialError, match=f"the official package of hpsv2_1 {said}"):
        worker.ask({"model": "hpsv2_1"})
    assert worker._process.poll() is not None


def test_a_request_is_limited(program):
    with pytest.raises(OfficialError, match="too long for the official package"):
        Worker(program("time.sleep(60)"), "hpsv2_1", "cpu").ask({"prompts": ["a" * 2**20]})


def test_the_worker_ends_with_the_process_that_started_it(tmp_path):
    code = f"""
import time
from pathlib import Path
from rsidiff_kedro.rewards.official import Worker
worker = Worker(Path({sys.executable!r}), "hpsv2_1", "cpu")
Path({str(tmp_path / "pid")!r}).write_text(str(worker._process.pid))
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    worker = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    end = time.monotonic() + 30
    while _runs(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(worker)


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2][:3]
