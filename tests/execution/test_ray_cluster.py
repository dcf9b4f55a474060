"""A cluster that cannot be used, or that has too little room, is refused in one line."""

import errno
import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rsidiff_kedro.execution import ray_cluster
from rsidiff_kedro.execution.engine import ExecutionError, ExecutionSettings

MISSING = importlib.util.find_spec("ray") is None
needs_ray = pytest.mark.skipif(MISSING, reason="needs the extra `ray`: pip install 'rsidiff_kedro[ray]'")


@needs_ray
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "Connection refused; start the cluster"),
        ("nonsense", "give it as host:port, or auto"),
        ("ray://127.0.0.1:10001", "give it as host:port, or auto"),
        ("127.0.0.1:99999", "give it as host:port, or auto"),
    ],
)
def test_an_address_without_a_cluster(tmp_path: Path, address: str, says: str) -> None:
    with pytest.raises(ExecutionError, match="no Ray cluster can be reached") as raised:
        ray_cluster.connect(ExecutionSettings(engine="ray", address=address), tmp_path, 1)
    assert says in str(raised.value)
    assert not list(tmp_path.iterdir())


@needs_ray
def test_an_environment_that_turns_the_token_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(ExecutionError, match=r"RAY_AUTH_MODE is 'disabled'.*unset it"):
        ray_cluster.connect(ExecutionSettings(engine="ray"), tmp_path, 1)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment, without variables of Ray."""
    found = {name: each for name, each in os.environ.items() if "RAY" not in name}
    monkeypatch.setattr(os, "environ", found)
    return found


def test_a_run_has_a_token_of_its_own_that_only_its_user_can_read_and_that_goes_with_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    folders = []
    for _ in range(2):
        folder = ray_cluster._find_token(tmp_path, alone=True)
        assert folder is not None
        token = Path(environment.pop("RAY_AUTH_TOKEN_PATH"))
        assert token.parent == folder and len(token.read_text("utf-8")) == 64
        assert (folder.stat().st_mode & 0o777, token.stat().st_mode & 0o777) == (0o700, 0o600)
        folders.append(folder)
    first, second = (Path(folder, "auth_token") for folder in folders)
    assert first.read_bytes() != second.read_bytes()
    assert not list(tmp_path.iterdir())
    for folder in folders:
        environment["RAY_AUTH_TOKEN_PATH"] = str(second)
        ray_cluster.disconnect(SimpleNamespace(shutdown=lambda: None), folder)
        assert not folder.exists() and ("RAY_AUTH_TOKEN_PATH" in environment) == (folder == first.parent)


@pytest.mark.parametrize(
    ("content", "named", "alone", "says"),
    [
        (None, False, False, "No such file"),
        (b"", False, False, "it is empty"),
        (b"a folder", False, False, "Is a directory"),  # another user's, which a test as root could read
        (b"a folder", True, False, "Is a directory"),
        (None, True, True, "No such file"),
    ],
)
def test_a_token_that_cannot_be_read_is_refused_and_none_is_made(
    tmp_path: Path, environment: dict[str, str], content: bytes | None, named: bool, alone: bool, says: str
) -> None:
    token = tmp_path / ("own" if named else ray_cluster.TOKEN)
    if named:
        environment["RAY_AUTH_TOKEN_PATH"] = str(token)
    if content is not None:
        token.parent.mkdir(exist_ok=True)
        token.mkdir() if content else token.touch()
    before, files = dict(environment), sorted(tmp_path.rglob("*"))
    with pytest.raises(ExecutionError, match=rf"token of the Ray cluster, cannot be read \({says}.*docs/scale.md"):
        ray_cluster._find_token(tmp_path, alone=alone)
    assert environment == before and sorted(tmp_path.rglob("*")) == files


def test_a_token_in_the_environment_is_taken(tmp_path: Path, environment: dict[str, str]) -> None:
    environment["RAY_AUTH_TOKEN"] = "secret"
    assert ray_cluster._find_token(tmp_path, alone=False) is None
    folder = ray_cluster._find_token(tmp_path, alone=True)
    assert "RAY_AUTH_TOKEN_PATH" not in environment
    ray_cluster.disconnect(SimpleNamespace(shutdown=lambda: None), folder)


def test_a_lack_of_room_for_sockets_is_said(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(ExecutionError, match=r"no room for the sockets of Ray \(No space left.*free space there"):
        ray_cluster._find_token(tmp_path, alone=True)


def test_more_workers_than_there_is_room_for() -> None:
    with pytest.raises(ExecutionError, match=r"execution.workers is 3, and each needs 1 GPUs, but there are 2"):
        ray_cluster.count_workers(ExecutionSettings(workers=3), gpus=2, cpus=64, per_worker=1, threads=8)


@pytest.mark.parametrize(("per_worker", "workers"), [(1, 8), (0.5, 16), (0, 4)])
def test_as_many_workers_as_there_is_room_for(per_worker: float, workers: int) -> None:
    made = ray_cluster.count_workers(ExecutionSettings(), gpus=8, cpus=32, per_worker=per_worker, threads=8)
    assert made == workers
