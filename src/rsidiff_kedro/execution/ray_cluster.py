"""Start Ray on this machine, or join a cluster, with the settings that keep it private."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rsidiff_kedro.execution.engine import ExecutionError, ExecutionSettings

OBJECT_STORE = 256 * 2**20
"""Bytes. Only sums of gradients go through the store; images and latents are files."""
TOKEN = Path(".ray", "auth_token")
"""In the data folder, from where all machines of a cluster that the user started read it."""
TOKEN_PATH = "RAY_AUTH_TOKEN_PATH"
"""The variable that tells Ray where the token is."""


def check_installed() -> None:
    """Raise ExecutionError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise ExecutionError(
            "execution.engine is ray, which is not installed; run `pip install 'rsidiff_kedro[ray]'`, or set "
            "execution.engine=local"
        )


def connect(settings: ExecutionSettings, data: Path, cpus: int) -> tuple[Any, Path | None]:
    """Return the module ray, connected, and the folder of its sockets and token if it was started here.

    Args:
        data: the data folder, which all machines share.
        cpus: that Ray may give away on this machine; those of a cluster are its own.

    Raises:
        ExecutionError: the cluster cannot be reached or joined, or there is no token to read or no room for one.
    """
    check_installed()
    if settings.address not in (None, "auto"):
        _reach(str(settings.address))
    _set_environment(alone=settings.address is None)
    folder = _find_token(data, alone=settings.address is None)
    ray = _import_ray(alone=settings.address is None)

    path = [os.path.abspath(each) for each in sys.path if each and not each.startswith((sys.prefix, sys.base_prefix))]
    options: dict[str, Any] = {
        "address": settings.address or "local",  # without one, Ray would join what RAY_ADDRESS names
        "configure_logging": False,
        "log_to_driver": False,
        "runtime_env": {"env_vars": {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}},
    }
    if folder is not None:
        options |= {
            "include_dashboard": False,
            "num_cpus": cpus,
            "object_store_memory": OBJECT_STORE,
            "_temp_dir": str(folder / "ray"),  # Ray lets everybody write there, but nobody else comes through `folder`
        }
    try:
        with _own_signals():
            ray.init(**options)
    except (RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        disconnect(ray, folder)
        where = f"the cluster at execution.address={settings.address}" if settings.address else "Ray on this machine"
        raise ExecutionError(
            f"{where} cannot be used ({str(error)[:400]}); docs/scale.md says how to start one"
        ) from error
    return ray, folder


def _import_ray(alone: bool) -> Any:
    """Return the module, which takes seconds and reads the environment once; make it read ours if it came before.

    Otherwise this process would not have the token of the cluster that it starts, and would listen on all addresses.
    """
    imported = "ray" in sys.modules
    import ray

    if imported:  # Ray has no public way
        from ray import _raylet
        from ray._private import ray_constants

        ray_constants.ENABLE_RAY_CLUSTER = not alone
        compiled: Any = _raylet  # its type stub lacks both names
        compiled.Config.initialize("")
        compiled.AuthenticationTokenLoader.instance().reset_cache()
    return ray


def _reach(address: str) -> None:
    """Raise ExecutionError unless something listens at `host:port`; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    problem = "give it as host:port, or auto for the cluster of this machine"
    if host and "/" not in host and port.isdecimal() and 0 < int(port) < 2**16:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
            return
        except OSError as error:
            problem = f"{error}; start the cluster (docs/scale.md), or correct the address"
    raise ExecutionError(f"execution.address is {address!r}, where no Ray cluster can be reached: {problem}")


def disconnect(ray: Any, folder: Path | None) -> None:
    """End Ray, if it was started here, or leave the cluster."""
    with _own_signals():
        ray.shutdown()
    if folder is not None:
        if os.environ.get(TOKEN_PATH) == str(folder / TOKEN.name):
            del os.environ[TOKEN_PATH]
        shutil.rmtree(folder, ignore_errors=True)


def own_threads(settings: ExecutionSettings) -> int:
    """Return the threads of each worker: those of this process, so that a training has the same result."""
    return settings.threads or torch.get_num_threads()


def own_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpus_to_offer(settings: ExecutionSettings, threads: int) -> int:
    """Return the CPUs that Ray may give away on this machine: enough for the workers that are set."""
    return max(own_cores(), threads * (settings.workers or 1))


def gpus_per_worker(settings: ExecutionSettings, on_gpu: bool) -> float:
    """Return the GPUs of each worker; `on_gpu` says where the model computes."""
    return settings.gpus_per_worker if settings.gpus_per_worker is not None else float(on_gpu)


def planned_workers(settings: ExecutionSettings, ray: Any, on_gpu: bool, threads: int) -> int:
    """Return the number of workers; raise ExecutionError if there are too few GPUs or cores for those that are set."""
    found = ray.cluster_resources()
    per_worker = gpus_per_worker(settings, on_gpu)
    return count_workers(settings, found.get("GPU", 0.0), found.get("CPU", 0.0), per_worker, threads)


def count_workers(settings: ExecutionSettings, gpus: float, cpus: float, per_worker: float, threads: int) -> int:
    """Return as many workers as there is room for, or those that are set; raise ExecutionError if they are too many."""
    have, needed, what = (gpus, per_worker, "GPUs") if per_worker else (cpus, threads, "CPU cores")
    fit = int(have / needed + 1e-9)
    if fit and (settings.workers is None or settings.workers <= fit):
        return settings.workers or fit
    raise ExecutionError(
        f"execution.workers is {settings.workers}, and each needs {needed:g} {what}, but there are {have:g}; set fewer "
        "workers, a smaller gpus_per_worker or threads, or add machines"
    )


def _set_environment(alone: bool) -> None:
    """Require a token; send no statistics.

    Args:
        alone: the cluster is this machine, so Ray listens on 127.0.0.1 only.
    """
    if alone:  # the one setting that does so on Linux, despite its name; it replaces any address that is given
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        raise ExecutionError(
            f"RAY_AUTH_MODE is {os.environ['RAY_AUTH_MODE']!r}, with which everybody who reaches Ray's ports runs code "
            "as you; unset it"
        )
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # of the workers, which do all the work; Ray's own is 15


def _find_token(data: Path, alone: bool) -> Path | None:
    """Have Ray read the token that the environment names, or else its own cluster's or the project's.

    Returns:
        The folder of this cluster, which no other user may enter; None for a cluster that runs already.

    Raises:
        ExecutionError: the token cannot be read, or that folder cannot be made.
    """
    if not os.environ.get("RAY_AUTH_TOKEN") and (TOKEN_PATH in os.environ or not alone):
        path = os.environ.get(TOKEN_PATH, str(data.absolute() / TOKEN))
        try:
            problem = "" if Path(path).read_bytes().strip() else "it is empty"
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            raise ExecutionError(
                f"{path}, the token of the Ray cluster, cannot be read ({problem}); make one that you alone can read, "
                f"as docs/scale.md says, or name it with {TOKEN_PATH}"
            )
        os.environ[TOKEN_PATH] = path
    return _own_folder() if alone else None


def _own_folder() -> Path:
    """Make a folder with a token that only this user can read; Ray reads it unless the environment names another."""
    place = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()  # the path of a socket has 107 bytes
    try:
        folder = Path(tempfile.mkdtemp(prefix="rsi", dir=place))
        token = folder / TOKEN.name
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="utf-8")
    except OSError as error:
        raise ExecutionError(
            f"{place} has no room for the sockets of Ray ({error.strerror}); make it writable for this user and free "
            "space there, or set execution.engine=local"
        ) from error
    if not os.environ.get("RAY_AUTH_TOKEN"):
        os.environ.setdefault(TOKEN_PATH, str(token))
    return folder


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handler of SIGTERM, which Ray replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
