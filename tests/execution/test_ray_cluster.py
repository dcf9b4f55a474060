"""A cluster that cannot be used, or that has too little room, is refused in one line."""

import importlib.util
import os
from pathlib import Path

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


def test_of_two_first_runs_at_once_both_have_the_first_ones_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {name: each for name, each in os.environ.items() if "RAY" not in name})
    monkeypatch.setattr(Path, "exists", lambda path: False)  # as both find it
    path = tmp_path / ray_cluster.TOKEN
    tokens = []
    for _ in range(2):
        os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
        ray_cluster._set_environment(tmp_path, alone=True)
        tokens.append(path.read_text())
    assert tokens[0] == tokens[1] and len(tokens[0]) == 64
    assert path.stat().st_mode & 0o777 == 0o600 and os.listdir(path.parent) == [path.name]


def test_more_workers_than_there_is_room_for() -> None:
    with pytest.raises(ExecutionError, match=r"execution.workers is 3, and each needs 1 GPUs, but there are 2"):
        ray_cluster.count_workers(ExecutionSettings(workers=3), gpus=2, cpus=64, per_worker=1, threads=8)


@pytest.mark.parametrize(("per_worker", "workers"), [(1, 8), (0.5, 16), (0, 4)])
def test_as_many_workers_as_there_is_room_for(per_worker: float, workers: int) -> None:
    made = ray_cluster.count_workers(ExecutionSettings(), gpus=8, cpus=32, per_worker=per_worker, threads=8)
    assert made == workers
