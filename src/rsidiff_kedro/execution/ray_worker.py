"""Define the worker process of the engine `ray`. It does not import ray itself."""

import gc
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rsidiff_kedro.core.hub import take_commits


@dataclass(frozen=True)
class AtCommits:
    """Open something in a worker, of a branch on the hub the commit that the driver has in its keys.

    Args:
        opening: what is opened.
        commits: see `known_commits`.
    """

    opening: Any
    commits: Mapping[tuple[str, str | None, str], str]

    def open(self) -> Any:
        """Return what the opening opens."""
        take_commits(self.commits)
        return self.opening.open()


class Worker:
    """One process, with at most one task open.

    Args:
        folder: the working directory of the run.
        threads: CPU threads.
    """

    def __init__(self, folder: str, threads: int) -> None:
        if os.path.isdir(folder):
            os.chdir(folder)
        torch.set_num_threads(threads)
        self._number, self._opened = -1, None

    def call(self, number: int, opening: Any, method: str, *arguments: Any) -> Any:
        """Call a method of what the task opens; a task of another number is opened first."""
        if number != self._number:
            self._opened = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._opened, self._number = opening.open(), number
        return getattr(self._opened, method)(*arguments)

    def run(self, number: int, opening: Any, *arguments: Any) -> None:
        """Have a shard made and kept."""
        self.call(number, opening, "__call__", *arguments)

    def process(self) -> int:
        """Return the process id."""
        return os.getpid()


PACKAGES = ("rsidiff_kedro", "ray", "torch", "diffusers", "transformers", "peft", "numpy", "pillow", "onnxruntime")
VERSIONS = ("Python", *PACKAGES)
"""Names of versions that must be the same on all machines."""


def node_facts(folder: str, name: str) -> dict[str, str]:
    """Say what must be the same on all machines; copy the file of this name in a folder under the machine's name."""
    given = Path(folder, name)
    text = given.read_text("utf-8") if name and given.is_file() else ""
    if text:
        given.with_name(f"{name}.{platform.node()}").write_text(text, encoding="utf-8")
    gpus = sorted({torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())})
    return {
        "machine": platform.node(),
        "shared": text,
        "gpus": ", ".join(gpus) or "none",
        "Python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
