"""Bad input ends a command at once: five lines at most that say what to do, nothing computed and nothing written."""

import re
import tempfile
from pathlib import Path

import pytest
from cases import CASES, table
from cases.case import Case, Materials, Place
from cases.command import ROOT, Outcome, in_its_own_process, in_this_process

import rsidiff_kedro

ADVICE = re.compile(
    r"\b(set|give|make|run|save|download|put|get|use|name|raise|lower|add|check|correct|start|select|write|remove|"
    r"rename|leave|repair|quote|change|there are|did you mean|should|must|allowed|do not exist|does not exist)\b",
    re.IGNORECASE,
)
"""What every message has: what to do, or what is allowed; click says of an option's file that it does not exist."""
MOST_LINES = 5

said: dict[Case, str] = {}
"""Each case that was run and passed, with its message."""


@pytest.fixture
def place(project: Path, materials: Materials) -> Place:
    return Place(project, materials)


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def prepare(case: Case, place: Place, monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The project's files before the command."""
    case.set_up(place)
    if case.late:
        place.without_tracking()
    for name, value in case.environment:
        monkeypatch.setenv(name, value)
    return files(place.project)


def check(case: Case, outcome: Outcome, place: Place, before: set[Path]) -> None:
    assert outcome.code not in (0, None), outcome.output
    assert "Traceback" not in outcome.output, outcome.output
    said = outcome.output.strip().splitlines()
    if case.late:  # a run that begins says what it will do
        said = [line for line in said if not line.startswith(("Plan: ", "Disk: ", "Time: "))]
    assert len(said) <= MOST_LINES, outcome.output
    assert ADVICE.search(outcome.message), outcome.message
    made = files(place.project) - before
    assert not [path for path in made if path.suffix == ".png"]
    if not case.late:
        assert not made


def neutral(message: str, place: Place) -> str:
    package = Path(rsidiff_kedro.__file__).parent
    materials = place.materials
    folders = [place.project, materials.model, materials.other_family, materials.rewards, package, ROOT]
    return table.neutral(message, [*folders, Path(tempfile.gettempdir())])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.subject}: {case.wrong}")
def test_bad_input_ends_in_a_line_that_says_what_to_do(
    case: Case, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prepare(case, place, monkeypatch)
    outcome = in_this_process(place.project, case.arguments)
    assert case.says in outcome.message, outcome.output
    check(case, outcome, place, before)
    said[case] = neutral(outcome.message, place)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.process], ids=lambda case: f"{case.subject}: {case.wrong}"
)
def test_a_process_of_its_own_says_the_same(case: Case, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare(case, place, monkeypatch)
    outcome = in_its_own_process(place.project, case.arguments)
    assert case.says in outcome.message, outcome.output
    check(case, outcome, place, before)
    if case in said:
        assert neutral(outcome.message, place) == said[case]


def test_every_case_is_another() -> None:
    assert len({(case.subject, case.wrong) for case in CASES}) == len(CASES) >= 100
    assert sum(case.process for case in CASES) >= 10


def test_the_table_in_the_docs_is_what_was_said(request: pytest.FixtureRequest) -> None:
    if set(said) != set(CASES):
        pytest.skip(f"only {len(said)} of {len(CASES)} cases were run and passed")
    page = table.render([(case, said[case]) for case in CASES])
    if request.config.getoption("--write-table"):
        table.PATH.write_text(page, encoding="utf-8")
    assert table.PATH.read_text(encoding="utf-8") == page, "run `make bad-input` and look at what changed"
