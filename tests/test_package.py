"""Archives hold what a project outside a clone needs, and the files for CI and commits run the gate."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SOURCES = ("src", "conf", "pyproject.toml", "README.md", "LICENSE", ".gitignore")
SECRET = "credentials.yml"


def run(built: Path, folder: Path, *command: str | Path) -> str:
    """Run a command in a folder with the package of `built / "installed"`, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(built / "installed"), "OMP_NUM_THREADS": "1"}
    environment.pop("KEDRO_ENV", None)
    environment.pop("KEDRO_LOGGING_CONFIG", None)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `dist/`, built from a clone that has settings of its machine, and `installed/`."""
    folder = tmp_path_factory.mktemp("package")
    clone = folder / "clone"
    clone.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, clone / name)
    (clone / "conf/local" / SECRET).write_text("token: secret\n")
    run(folder, clone, sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist")
    wheel = next((folder / "dist").glob("*.whl"))
    options = ["--quiet", "--no-deps", "--no-compile", "--no-index", "--target"]
    run(folder, clone, sys.executable, "-m", "pip", "install", *options, folder / "installed", wheel)
    return folder


def test_the_archives_hold_the_configuration_and_no_settings_of_this_machine(built: Path) -> None:
    with zipfile.ZipFile(next((built / "dist").glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    with tarfile.open(next((built / "dist").glob("*.tar.gz"))) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    conf = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*") if path.is_file()}
    conf = {name for name in conf if not name.startswith("conf/local/")}
    assert conf and {f"rsidiff_kedro/{name}" for name in conf} | {"rsidiff_kedro/py.typed"} <= names
    assert conf | {"pyproject.toml", "src/rsidiff_kedro/py.typed"} <= sources
    assert not [name for name in names | sources if SECRET in name]


def test_the_wheel_holds_every_file_of_the_package(built: Path) -> None:
    package = ROOT / "src/rsidiff_kedro"
    files = [path.relative_to(package) for path in package.rglob("*") if path.is_file()]
    missing = [path for path in files if not (built / "installed/rsidiff_kedro" / path).is_file()]
    assert [path for path in missing if "__pycache__" not in path.parts] == []


def test_a_project_of_the_installed_package_runs(built: Path) -> None:
    rsidiff, work = built / "installed/bin/rsidiff", built / "work"
    work.mkdir()
    said = run(built, work, "env", "PYTHONIOENCODING=iso-8859-1", rsidiff, "init", "проект")
    project = work / "проект"
    assert f"cd {project.name!a}" in said
    where = run(built, project, sys.executable, "-c", "import rsidiff_kedro; print(rsidiff_kedro.__file__)")
    assert Path(where.strip()).is_relative_to(built / "installed")
    run(built, project, sys.executable, "-m", "kedro", "run", "--env=test", "--pipeline=prompt_curation")
    assert [*project.glob("data/test/03_primary/prompt_pool.parquet/*/prompt_pool.parquet")]
    assert "1 runs" in run(built, project, rsidiff, "runs", "--env=test")


def test_the_hubs_client_warns_of_nothing_that_nobody_can_act_on() -> None:
    code = "import rsidiff_kedro; from huggingface_hub import DatasetCard; DatasetCard('# Captions, without metadata')"
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_VERBOSITY"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_workflow_runs_the_gate_on_three_versions() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]["gate"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert job["steps"][-1]["run"] == ".ci/run" and os.access(ROOT / ".ci/run", os.X_OK)


def test_the_hooks_before_a_commit_are_those_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    recipe = subprocess.run(["make", "--dry-run", "lint"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line.removesuffix(" .") for line in recipe.splitlines()]
    checks = [line for line in lines if re.match(r"\.venv/bin/(ruff|mypy|lint-imports)", line)]
    assert [hook["entry"].removesuffix(" --force-exclude") for hook in hooks] == checks
