"""Every command in the docs can be given as it stands: names, options and parameters exist."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from kedro.framework.cli.cli import KedroCLI

from rsidiff_kedro import pipeline_registry
from rsidiff_kedro.cli import rsidiff
from rsidiff_kedro.cli import run as run_command
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.hooks.session import FILTERS, check_names
from rsidiff_kedro.parameters import parse_parameters

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")), *sorted(ROOT.glob("docs/**/*.md"))]
MENTIONED = ("--params",)
"""Options that a page may mention alone; they are those of `kedro run`."""
LEFT_OUT = re.compile(r"…|<\w+>")
"""What stands for something that the reader fills in."""


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of every kedro, rsidiff, make and python command in code, blocks or inline, without comments."""
    fences = re.compile(r"^```(\w*)(?: [^\n]*)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
    blocks = [code for language, code in fences.findall(text) if language in ("", "sh", "bash", "shell", "console")]
    rest = fences.sub("", text)
    blocks += re.findall(r"(?:^|\n\n)((?:    .*(?:\n|$))+)", rest)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).splitlines()]
    inline = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", rest)]
    for line in [*lines, *inline]:
        try:
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        except ValueError:  # a quotation mark of prose
            continue
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]
        if words and words[0] in MENTIONED and len(words) > 1:
            words = ["kedro", "run", *words]
        if (
            len(words) > 1
            and Path(words[0]).name in ("kedro", "rsidiff", "make", "python")
            and not LEFT_OUT.search(line)
        ):
            yield [Path(words[0]).name, *words[1:]]


COMMANDS = {
    shlex.join(words): (page.relative_to(ROOT).as_posix(), words)
    for page in reversed(PAGES)
    for words in commands(page.read_text(encoding="utf-8"))
}
"""Each command once, with the first page that gives it and its words."""


@pytest.fixture(scope="module")
def folder(new_project: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty project, which no command changes, with the environment that a how-to page makes."""
    project = new_project(tmp_path_factory.mktemp("docs") / "project")
    (project / "conf/mine").mkdir()
    (project / "conf/mine/globals.yml").write_text("extends: sd14\n", encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def kedro(folder: Path) -> KedroCLI:
    return KedroCLI(folder)


@pytest.fixture(autouse=True)
def in_the_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KEDRO_ENV", raising=False)


def parse_kedro(command: click.Command | None, words: list[str]) -> None:
    """Parse it as click does; of `kedro run`, check the names of pipelines, nodes and parameters too."""
    path = []
    while isinstance(command, click.Group | click.CommandCollection):
        assert words, f"kedro {' '.join(path)} is no command but a group"
        if words == ["--help"]:
            return
        path.append(words[0])
        command = command.get_command(click.Context(command), words[0])
        words = words[1:]
    assert command is not None, f"there is no command kedro {' '.join(path)}"
    command = run_command if path == ["run"] else command
    try:
        options = command.make_context(path[-1], list(words)).params
    except click.exceptions.Exit:  # of --help
        return
    if "params" in options:
        parameters = parse_parameters(open_configuration(options["env"], options["params"] or {})[1]["parameters"])
        pipeline_registry.set_rounds(parameters.rounds)
    if path == ["run"]:
        named = [options["pipeline"]] if options["pipeline"] else options["pipelines"]
        check_names(named, **{name: options[name] for name in (*FILTERS, "load_versions")})


def parse_make(words: list[str]) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    used = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in [word.partition("=")[0] for word in words if "=" in word]:
        assert f"$({name})" in used, f"the Makefile reads no {name}"


def parse_python(words: list[str]) -> None:
    """Check that the script or module exists, and that its options are in it."""
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]), words[1]
        sources = [ROOT / "tests/conftest.py"] if words[1] == "pytest" else []
        missing = [word for word in words[2:] if not word.startswith("-") and not (ROOT / word).exists()]
        assert words[1] != "pytest" or not missing, missing
    else:
        sources = [ROOT / words[0]]
        assert sources[0].is_file(), sources[0]
    known = "".join(path.read_text(encoding="utf-8") for path in sources)
    unknown = [word for word in words if re.match(r"--\w", word) and f'"{word.partition("=")[0]}"' not in known]
    assert not sources or not unknown, unknown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{COMMANDS[command][0]}: {command}")
def test_every_command_of_the_docs_is_one(kedro: KedroCLI, command: str) -> None:
    program, *words = COMMANDS[command][1]
    if program == "kedro":
        parse_kedro(kedro, words)
    elif program == "rsidiff":
        parse_kedro(rsidiff, words)
    elif program == "make":
        parse_make(words)
    else:
        assert program.startswith("python"), program
        parse_python(words)


def test_the_commands_are_found() -> None:
    found = COMMANDS.keys()
    assert len(found) >= 40
    assert {
        "kedro run --pipeline=rsi --params rounds=6",
        "make parity SIZE=full",
        "kedro rsi doctor --env=sd14",
    } <= found


TEXT = """
Run `make
rsi` or `kedro run --params a=[1,2]`, or say `--params b=3`; `kedro run --from-nodes=…` is left out.

    FUZZ=1 python x.py --deep \\
        --wide   # a comment; kedro no

```sh
$ .venv/bin/kedro rsi runs
```

```yaml title="conf/local/parameters.yml"
kedro: run
```
"""


def test_every_page_shows_pictures_that_exist_and_every_picture_is_shown() -> None:
    link = re.compile(r"\]\(([^)\s]+\.png)\)")
    shown = {
        (page.parent / path).resolve() for page in PAGES for path in link.findall(page.read_text(encoding="utf-8"))
    }
    assert shown == {*ROOT.glob("docs/**/*.png")}


def test_commands_are_found_in_blocks_and_lines_and_nothing_else_is() -> None:
    assert [shlex.join(words) for words in commands(TEXT)] == [
        "kedro rsi runs",
        "python x.py --deep --wide",
        "make rsi",
        "kedro run --params 'a=[1,2]'",
        "kedro run --params b=3",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "kedro run --pipeline=rsy",
        "kedro run --params rond=3",
        "kedro run --nosuch",
        "kedro run --env=sd15",
        "kedro rsi docter",
        "kedro run --params rounds=1 --namespaces=rsi.round_2",
        "make rsy",
        "make rsi NOSUCH=3",
        "python benchmarks/nosuch.py",
        "python benchmarks/kill_test.py --nosuch",
        "python -m pytest tests/nosuch",
    ],
)
def test_a_wrong_command_would_be_noticed(kedro: KedroCLI, command: str) -> None:
    program, *words = shlex.split(command)
    parse = {"kedro": lambda words: parse_kedro(kedro, words), "make": parse_make, "python": parse_python}[program]
    with pytest.raises((AssertionError, click.ClickException, ValueError)):
        parse(words)
