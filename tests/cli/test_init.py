"""`rsidiff init` makes a project, and the other commands of `rsidiff` say where one is needed."""

import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from kedro.framework.startup import bootstrap_project

from rsidiff_kedro import __main__
from rsidiff_kedro.cli import rsidiff

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder outside every project, which is the working directory too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # Kedro adds projects to both
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.delenv("KEDRO_ENV", raising=False)
    monkeypatch.setenv("KEDRO_LOGGING_CONFIG", "")
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(rsidiff, words)


def test_the_project_has_the_default_configuration(folder: Path) -> None:
    assert call("init", "new").exit_code == 0
    default = {path.relative_to(ROOT): path for path in (ROOT / "conf").rglob("*") if path.is_file()}
    default = {name: path for name, path in default.items() if name.parts[1] != "local"}
    assert default and all((folder / "new" / name).read_bytes() == path.read_bytes() for name, path in default.items())
    assert [path.name for path in (folder / "new/conf/local").iterdir()] == [".gitkeep"]


def test_an_empty_working_directory_becomes_a_project(folder: Path) -> None:
    result = call("init", ".")
    assert "kedro run --env=test" in result.output and "cd " not in result.output
    assert bootstrap_project(folder).package_name == "rsidiff_kedro"


def test_a_folder_that_is_not_empty_is_left_as_it_is(folder: Path) -> None:
    (folder / "mine.txt").write_text("mine")
    result = call("init", str(folder))
    assert result.exit_code == 1 and "is not empty" in result.output
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("name", "said"), [("file", "is a file"), ("a{b}", "holds a brace"), ("file/new", "file")])
def test_a_folder_that_cannot_be_a_project_is_refused_in_one_line(folder: Path, name: str, said: str) -> None:
    (folder / "file").touch()
    result = call("init", name)
    assert result.exit_code == 1 and said in result.output and result.output.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.parametrize("words", [["runs"], ["doctor"], ["sample", "a red circle"], ["plan"]])
def test_a_command_outside_a_project_says_how_to_make_one(folder: Path, words: list[str]) -> None:
    result = call(*words)
    assert result.exit_code == 2 and "rsidiff init my_project" in result.output


def test_the_module_outside_a_project_says_how_to_make_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        __main__.main([])
    assert caught.value.code == 2 and "rsidiff init my_project" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tool.kedro]\npackage_name = "other"\n', "'other'"),
        ("[tool.kedro]\npackage_name = rsidiff_kedro\n", "cannot be used"),
        ("[tool.kedro]\n", "cannot be used"),
        ('[tool.kedro]\npackage_name = "rsidiff_kedro"\n', "kedro_init_version"),
    ],
)
def test_a_project_that_is_not_of_this_package_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    result = call("runs")
    assert result.exit_code == 2 and said in result.output


def test_a_folder_below_a_project_is_in_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "src")
    result = call("runs")
    assert result.exit_code == 0 and "0 runs" in result.output
