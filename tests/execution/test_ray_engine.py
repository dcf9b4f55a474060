"""Two workers of Ray make the bytes of one process, and lose nothing when a worker, a rank or the driver is killed."""

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pandas as pd
import pytest
import ray_work
import torch
from PIL import Image
from ray_work import MODEL, Revision, Troubled, generate

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import commit_of, pinned
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.training_set import TrainingSet
from rsidiff_kedro.diffusion.early_dropping import EarlyDropping
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.real_images import encode_pairs
from rsidiff_kedro.diffusion.settings import FinetuneSettings
from rsidiff_kedro.diffusion.training import finetune, initial_adapter
from rsidiff_kedro.execution.engine import ExecutionError, ExecutionSettings, run_shards, set_engine
from rsidiff_kedro.execution.local import split
from rsidiff_kedro.execution.ray_engine import RayEngine
from rsidiff_kedro.rewards.embedding import embed_sets
from rsidiff_kedro.rewards.scoring import RewardOpening, with_scores
from rsidiff_kedro.rewards.settings import RewardsSettings

MISSING = importlib.util.find_spec("ray") is None
pytestmark = pytest.mark.skipif(MISSING, reason="needs the extra `ray`: pip install 'rsidiff_kedro[ray]'")


@pytest.fixture(scope="module")
def handler() -> Callable[..., None]:
    return lambda number, frame: sys.exit(128 + number)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, handler: Callable[..., None]) -> Iterator[RayEngine]:
    """Two workers with one thread each, and room for a third, of a Ray that was imported without our token.

    The project's token, which is for clusters that the user starts, cannot be read: another user's, say.
    """
    import ray  # noqa: F401

    data, before, environment = tmp_path_factory.mktemp("data"), signal.getsignal(signal.SIGTERM), dict(os.environ)
    (data / ".ray").touch()
    signal.signal(signal.SIGTERM, handler)
    made = RayEngine(ExecutionSettings(engine="ray", workers=2, threads=1, max_restarts=99), data, on_gpu=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda process: range(3))
        assert len(made.workers) == 2
    yield made
    made.close()
    signal.signal(signal.SIGTERM, before)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def ray_engine(cluster: RayEngine) -> Iterator[RayEngine]:
    set_engine(cluster)
    yield cluster
    set_engine(None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Images made by one process."""
    return generate(tmp_path_factory.mktemp("whole"))


def assert_equal(images: ImageSet, others: ImageSet) -> None:
    pd.testing.assert_frame_equal(images.metadata, others.metadata)
    assert images.latents is not None and others.latents is not None
    assert torch.equal(images.latents[:], others.latents[:])
    assert [path.read_bytes() for path in images.images.paths] == [path.read_bytes() for path in others.images.paths]


def test_workers_drop_the_samples_early_that_one_process_drops(ray_engine: RayEngine, tmp_path: Path) -> None:
    dropping = EarlyDropping(2, RewardOpening("proxy", RewardsSettings()), 2)
    (tmp_path / "workers").mkdir()
    together = generate(tmp_path / "workers", samples=2, dropping=dropping)
    set_engine(None)
    (tmp_path / "one").mkdir()
    assert_equal(together, generate(tmp_path / "one", samples=2, dropping=dropping))
    assert together.metadata["dropped"].sum() == len(together) / 2


def process_of(engine: RayEngine, place: int) -> int:
    return engine._ray.get(engine.workers[place].process.remote())


@contextmanager
def killed_once(process: int, found: Callable[[], bool]) -> Iterator[None]:
    """SIGKILL a process as soon as something is found."""

    def watch() -> None:
        while not found():
            time.sleep(0.002)
        os.kill(process, signal.SIGKILL)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield
    watcher.join(timeout=60)
    assert not watcher.is_alive(), "the process was killed before the work was done"


def test_it_starts_with_a_private_token_and_leaves_the_handler_of_sigterm(ray_engine, handler) -> None:
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert token.parent == ray_engine._folder and stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700  # Ray opens those below to everybody
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert signal.getsignal(signal.SIGTERM) is handler


def test_it_listens_on_the_loopback_interface_alone(ray_engine) -> None:
    (node,) = ray_engine._ray.nodes()
    ports = {int(ray_engine._ray.get_runtime_context().gcs_address.rpartition(":")[2]), node["NodeManagerPort"]}
    tables = [Path("/proc/net", name).read_text("utf-8").splitlines()[1:] for name in ("tcp", "tcp6")]
    listening = [line.split()[1].split(":") for table in tables for line in table if line.split()[3] == "0A"]
    found = {int(port, 16): address for address, port in listening if int(port, 16) in ports}
    assert found.keys() == ports
    assert all(address.endswith("0100007F") for address in found.values()), found


def test_images_scores_vectors_and_latents_are_those_of_one_process(ray_engine, whole, tmp_path) -> None:
    images = generate(tmp_path)
    assert_equal(images, whole)
    found, settings = [], RewardsSettings(micro_batch_size=4)
    pairs = pd.DataFrame({"file_name": images.metadata["file_name"], "text": images.metadata["text"]})
    for name, engine in {"one": None, "two": ray_engine}.items():
        set_engine(engine)
        folder = tmp_path / name
        folder.mkdir()
        scores = with_scores(images.metadata, images.images, ["proxy", "oracle"], settings, folder)
        vectors = embed_sets("proxy", settings, {"all": images, "some": images.select(range(3))}, folder)
        found.append((scores, vectors, encode_pairs(MODEL, tmp_path, pairs, 5, folder).latents))
    (scores, vectors, latents), (others, other_vectors, other_latents) = found
    pd.testing.assert_frame_equal(scores, others, check_exact=True)
    assert scores.attrs == others.attrs
    assert all(np.array_equal(*two) for two in zip(vectors, other_vectors, strict=True))
    assert torch.equal(latents, other_latents)


def test_a_worker_that_is_killed_while_it_generates_loses_nothing(ray_engine, whole, tmp_path) -> None:
    with killed_once(process_of(ray_engine, 0), lambda: any(tmp_path.glob("*.safetensors"))):
        images = generate(tmp_path)
    assert_equal(images, whole)


def test_a_training_whose_rank_is_killed_ends_in_the_bytes_of_one_process(ray_engine, whole, tmp_path) -> None:
    settings = FinetuneSettings(rank=2, steps=12, batch_size=4, micro_batch_size=1, checkpoint_every=1)
    rows, parent = whole.metadata.assign(round=1, weight=1.0), initial_adapter(load_model(MODEL), settings, 0)
    given = parent, TrainingSet(rows, whole.latents[:]), settings, 0, 1, tmp_path
    with killed_once(process_of(ray_engine, 1), (tmp_path / "training.safetensors").exists):
        trained, log = finetune(MODEL, *given)
    set_engine(None)
    (tmp_path / "training.safetensors").unlink()
    alone, own_log = finetune(MODEL, *given)
    assert trained.digest == alone.digest
    pd.testing.assert_frame_equal(log, own_log, check_exact=True)


def run(task: Troubled | Revision, *given: str) -> list[float]:
    shards = list(split([f"s{row}" for row in range(len(given))], 1))
    parts = dict(run_shards(task, shards, lambda shard: given[shard.start], "trouble"))
    return [float(parts[shard]) for shard in shards]


def test_a_shard_that_fails_twice_is_made_the_third_time(ray_engine, tmp_path) -> None:
    task = Troubled(tmp_path)
    assert run(task, "work", "fail 2", "work", "work") == [0.0, 1.0, 2.0, 3.0]
    assert [task.made(f"s{row}") for row in range(4)] == [1, 3, 1, 1]


def test_a_shard_that_always_fails_ends_the_run_with_its_own_error(ray_engine, tmp_path) -> None:
    with pytest.raises(OSError, match="No space left"):
        run(Troubled(tmp_path), "work", "fail 9")
    assert Troubled(tmp_path).made("s1") == 3


def test_a_users_error_is_not_tried_again(ray_engine, tmp_path) -> None:
    with pytest.raises(InputError, match="not this one"):
        run(Troubled(tmp_path), "refuse 9")
    assert Troubled(tmp_path).made("s0") == 1


def test_a_worker_opens_the_commit_that_the_run_began_with(ray_engine, tmp_path, monkeypatch) -> None:
    name = tmp_path / "models--owner--name" / "refs" / "main"
    name.parent.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))  # the workers have another
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for commit in ("a" * 40, "b" * 40):  # a second run in one process
        name.write_text(commit)
        commit_of.cache_clear()
        assert pinned("owner/name") == commit
        name.write_text("c" * 40)  # the branch moves
        assert ray_engine.replicas(Revision(), 2).each("of", ["owner/name"] * 2) == [commit] * 2
        with pytest.raises(InputError, match=f"the commit is {commit}"):
            run(Revision(), "owner/name")
    commit_of.cache_clear()


def test_a_shard_that_ends_three_workers_ends_the_run_and_another_engine_continues(ray_engine, tmp_path) -> None:
    task = Troubled(tmp_path)
    with pytest.raises(ExecutionError, match=r"rows 1 to 1 \(s1\) have ended 3 workers.*lower micro_batch_size"):
        run(task, "work", "kill 3", "work")
    set_engine(None)
    assert run(task, "work", "kill 3", "work") == [0.0, 1.0, 2.0]
    assert [task.made(f"s{row}") for row in range(3)] == [1, 4, 1]


def test_what_a_killed_driver_has_finished_is_found_by_the_other_engine(ray_engine, tmp_path) -> None:
    address = ray_engine._ray.get_runtime_context().gcs_address
    folder = tmp_path / "unfinished"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, ray_work.__file__, address, str(ray_engine._data), str(folder)]
    with subprocess.Popen(command, env=environment) as driver:
        while driver.poll() is None and len(list(folder.glob("*.safetensors"))) < 3:
            time.sleep(0.02)
        assert driver.poll() is None, "the driver ended before it was killed"
        driver.kill()
    time.sleep(1)  # its worker may finish a shard
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    set_engine(None)
    resumed = generate(folder, samples=16)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert 3 <= len(kept) < len(list(folder.glob("*.safetensors"))) == 48
    first = [row for row, sample in enumerate(resumed.metadata["sample_index"]) if sample < 2]
    assert torch.equal(resumed.select(first).latents[:], generate(tmp_path, samples=2).latents[:])


def test_pixels_in_memory_do_not_leave_the_process(ray_engine) -> None:
    table = pd.DataFrame({"image_id": ["a"], "prompt_id": ["p"], "text": ["a red circle"]})
    opened = ray_engine._opened
    with_scores(table, [Image.new("RGB", (32, 32), "red")], ["proxy"], RewardsSettings())
    assert ray_engine._opened == opened


def test_each_machine_is_compared_with_this_one(ray_engine, monkeypatch) -> None:
    from rsidiff_kedro.execution import ray_nodes

    (fine,) = ray_nodes.examine_nodes(ray_engine._ray, ray_engine._data)
    assert fine.fine and "the versions and data/ of here" in fine.text, fine
    assert not list(ray_engine._data.glob(".doctor*"))
    driver, facts = os.getpid(), ray_nodes.node_facts
    changed = lambda *given: facts(*given) | ({} if os.getpid() == driver else {"torch": "1.0", "shared": ""})  # noqa: E731
    monkeypatch.setattr(ray_nodes, "node_facts", changed)
    (other,) = ray_nodes.examine_nodes(ray_engine._ray, ray_engine._data)
    assert not other.fine
    assert "torch 1.0 there" in other.text and f"{ray_engine._data} is another folder there" in other.text
    sealed = ray_engine._data / ".ray"  # a file, in which nothing can be written
    with pytest.raises(ExecutionError, match=r"/\.ray cannot be written \(.*make it writable for this user"):
        list(ray_nodes.examine_nodes(ray_engine._ray, sealed))
