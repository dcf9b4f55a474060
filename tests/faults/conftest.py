"""A finished run to break, real processes to break it with, and the table of what came of it."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kedro_process import KedroProcess

from rsidiff_kedro.provenance.records import Records

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "faults.md"
HEADING = """# Faults, and what came of them

Made by `make faults`, which is `python -m pytest tests/faults --write-table`: each row is a real run of the
environment `test` in a process of its own, to which the fault was done, and what the test saw afterwards. … stands for
a folder, a version or an image.

| fault | exit code | what is said | afterwards |
| --- | --- | --- | --- |
"""
FAULTS = 31


@dataclass(frozen=True)
class Place:
    """A project in whose folder `kedro` is run, one thread, as a process of its own."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data" / "test"

    def start(self, *arguments: str, prelude: str = "") -> KedroProcess:
        return KedroProcess(self.folder, ["run", "--env=test", *arguments], self.environment, prelude)

    @property
    def environment(self) -> dict[str, str]:
        """One thread, and a machine whose locale is not UTF-8."""
        locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        return os.environ | locale | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

    def run(self, *arguments: str, prelude: str = "") -> tuple[int, str]:
        """The exit code and all that was said."""
        with self.start(*arguments, prelude=prelude) as process:
            output, _ = process.communicate(timeout=300)
        assert "Traceback" not in output, output
        assert process.returncode is not None
        return process.returncode, output

    def artifacts(self) -> dict[str, dict[str, str]]:
        """The digests of all outputs by the key of what made them."""
        return {record.key: record.outputs for record in Records(self.data / "lineage").all()}


@pytest.fixture(scope="session")
def new_place(new_project: Callable[[Path], Path], empty_store: Path) -> Callable[[Path], Place]:
    """`new_place(folder)`: an empty project in a new folder."""

    def new_place(folder: Path) -> Place:
        place = Place(new_project(folder / "project"))
        shutil.copy(empty_store, place.folder)
        return place

    return new_place


@pytest.fixture(scope="session")
def finished(new_place: Callable[[Path], Place], tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One round that nobody disturbed."""
    place = new_place(tmp_path_factory.mktemp("finished"))
    code, output = place.run("--params=rounds=1")
    assert code == 0, output
    return place


@pytest.fixture
def place(finished: Place, tmp_path: Path) -> Place:
    """A copy of the finished run."""
    return Place(shutil.copytree(finished.folder, tmp_path / "project"))


@pytest.fixture(scope="session")
def rows() -> dict[str, str]:
    return {}


@pytest.fixture
def note(rows: dict[str, str], tmp_path: Path) -> Callable[[str, int, str, str], None]:
    """`note(fault, code, output, afterwards)`: a row of the table."""

    def note(fault: str, code: int, output: str, afterwards: str) -> None:
        said = _said(output).replace(str(tmp_path), "…")
        said = re.sub(r"\d{4}-\d\d-\d\dT[\d.]+Z", "…", re.sub(r"/[\w./…-]*/project/", "…/", said))
        said = re.sub(r"[0-9a-f]{16}_…|round_\d+_[0-9a-f]{12}_\d+", "…", said).replace("|", "\\|")
        said = re.sub(
            r"free inodes \(.*?\);", "free inodes (…);", re.sub(r"at step \d+", "at step …", said)
        )  # machines differ
        rows[fault] = f"| {fault} | {code} | {said} | {afterwards} |\n"

    return note


def _said(output: str) -> str:
    """The lines that are neither progress nor about the steps."""
    lines = [line.split("\r")[-1].strip() for line in output.splitlines()]
    told = re.compile(r"Error: |WARNING |Stopped|.* (?:is damaged|is gone)|MLflow could not record|Nothing more is")
    shown = (re.sub(r"(MLflow could not record).*?:.*", r"\1 …", line) for line in lines if told.match(line))
    found = dict.fromkeys(line.removeprefix("Error: ") for line in shown)
    return "<br>".join(found) or "nothing"


@pytest.fixture(scope="session", autouse=True)
def table(rows: dict[str, str], request: pytest.FixtureRequest) -> Iterator[None]:
    """Writes or checks docs/faults.md once all faults were tried."""
    yield
    if len(rows) < FAULTS:
        return
    page = HEADING + "".join(rows.values())
    if request.config.getoption("--write-table"):
        TABLE.write_text(page, encoding="utf-8")
    assert TABLE.read_text(encoding="utf-8") == page, "run `make faults` and look at what changed"
