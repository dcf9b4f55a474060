"""What tests share: a project folder of their own to run in, with this project's configuration and no data."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kedro.framework.context import KedroContext
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

ROOT = Path(__file__).parents[1]


def make_project(folder: Path) -> Path:
    """A Kedro project of this package in an empty folder."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "src").mkdir()
    bootstrap_project(folder)
    return folder


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, which is the working directory too."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    return folder


@pytest.fixture
def load_context(project: Path) -> Callable[..., KedroContext]:
    """Makes a context in the empty project: `load_context({"rounds": 2}, env="test")`."""

    def load(runtime_params: dict[str, Any] | None = None, env: str | None = None) -> KedroContext:
        with KedroSession.create(project, env=env, runtime_params=runtime_params) as session:
            return session.load_context()

    return load
