"""Kill runs at random moments and resume them: nothing is lost, nothing half-written, the end is the same.

    python benchmarks/kill_test.py --kills 50 --table docs/kill-table.md

A run of three rounds in the environment `test` is killed (SIGKILL) in a step of one stage after the other, in random
order and at a random moment of the step, and continues each time with `--only-missing-outputs`. When it comes to its
end, every artifact is compared with those of a run that nobody disturbed, and the next run begins in a new folder.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from safetensors.torch import load_file

from rsidiff_kedro.pipelines import stages
from rsidiff_kedro.pipelines.stage import Place, compose
from rsidiff_kedro.provenance.records import Records

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
METHOD = tuple(stage for stage in stages() if stage.place is not Place.APART)
TO_THE_END = "none"
_STARTED = re.compile(r"Running node: .* -> \[([\w.]+)")  # by its first output: the name is without its namespace
_REUSED = re.compile(r"(\d+) of (\d+) steps are reused")


@dataclass
class Kill:
    """One kill, and what the run had when it came."""

    run: int
    step: str
    stage: str
    seconds: float
    images: int
    training_steps: int
    reused: str = ""


def start_kedro(folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    """Start `kedro` in a folder, with both streams in one."""
    command = [sys.executable, "-m", "kedro", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, encoding="utf-8", **streams)


@dataclass
class Project:
    """A folder in which runs of so many rounds are started, killed and resumed."""

    folder: Path
    rounds: int = ROUNDS
    start_process: Callable[..., Any] = start_kedro
    seen: set[str] = field(default_factory=set)
    written: dict[Path, int] = field(default_factory=dict)

    @property
    def data(self) -> Path:
        """Return the folder of the environment `test`'s data."""
        return self.folder / "data" / "test"

    def start(self) -> Any:
        """Start a run that says which step it is at."""
        arguments = ["run", "--pipelines=rsi", "--env=test", "--only-missing-outputs", f"--params=rounds={self.rounds}"]
        environment = os.environ | {"KEDRO_LOGGING_CONFIG": str(self.folder / "logging.json"), "OMP_NUM_THREADS": "1"}
        return self.start_process(self.folder, arguments, environment)

    def images(self) -> dict[Path, str]:
        """Return the digests of all images that are not hidden, those of unfinished steps included."""
        found = {}
        for path in self.data.rglob("images/*.png"):
            if not any(part.startswith(".") for part in path.parts):
                found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def check(self) -> None:
        """Raise AssertionError if an artifact is half-written, or a finished image is gone or was generated again."""
        for path in self.data.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(self.data).parts)
            if path.is_file() and not hidden and "unfinished" not in path.parts:
                _read(path)
        for path, written in self.written.items():
            assert not path.exists() or path.stat().st_mtime_ns == written, f"{path} was made again"
        batches = self.data.glob("unfinished/*/*.safetensors")
        self.written = {path: path.stat().st_mtime_ns for path in batches if path.name != "training.safetensors"}
        images = self.images()
        lost = self.seen - set(images.values())
        assert not lost, f"{len(lost)} finished images are lost"
        # Of an unfinished step those images are finished whose micro-batch has its latents.
        whole = self._whole_micro_batches()
        self.seen = {digest for path, digest in images.items() if "unfinished" not in path.parts or path in whole}

    def _whole_micro_batches(self, size: int = 8) -> set[Path]:
        found: set[Path] = set()
        for folder in self.data.glob("unfinished/*/images"):
            firsts = {path.stem for path in folder.parent.glob("*.safetensors")}
            images = sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime_ns)
            batches = (images[start : start + size] for start in range(0, len(images), size))
            found.update(path for batch in batches if firsts & {path.stem for path in batch} for path in batch)
        return found

    def artifacts(self) -> dict[str, dict[str, str]]:
        """Return the digests of all outputs, by the key of what made them."""
        return {record.key: record.outputs for record in Records(self.data / "lineage").all()}


def _read(path: Path) -> None:
    """Read an artifact to its end."""
    if path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    elif path.suffix == ".parquet":
        pd.read_parquet(path)
    elif path.suffix == ".safetensors":
        load_file(path)
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    else:
        assert path.read_text(encoding="utf-8").endswith(("\n", ">")), f"{path} is cut off"


def make_project(folder: Path, *options: Any) -> Project:
    """Make an empty folder with the project's configuration, whose logs name each step as it begins."""
    folder.mkdir()
    shutil.copytree(ROOT / "conf", folder / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "src").mkdir()
    handlers = {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}}
    loggers = {name: {"level": "INFO", "handlers": ["out"]} for name in ("kedro.pipeline.node", "rsidiff_kedro")}
    config = {"version": 1, "disable_existing_loggers": False, "handlers": handlers, "loggers": loggers}
    (folder / "logging.json").write_text(json.dumps(config), encoding="utf-8")
    return Project(folder, *options)


def steps(rounds: int) -> dict[str, tuple[str, str]]:
    """Return the name and the stage of every step of the run, by its first output."""
    pipelines = compose(METHOD, rounds)
    return {node.outputs[0]: (node.name, each.name) for each in METHOD for node in pipelines[each.name].nodes}


def undisturbed(project: Project) -> dict[str, float]:
    """Run to the end; return the seconds that each step took."""
    begun: list[tuple[str, float]] = []
    said: deque[str] = deque(maxlen=50)
    with project.start() as process:
        for line in process.stdout:
            said.append(line)
            if match := _STARTED.search(line):
                begun.append((match[1], time.monotonic()))
    assert process.returncode == 0, "".join(said)
    ends = [moment for _, moment in begun[1:]] + [time.monotonic()]
    return {name: end - start for (name, start), end in zip(begun, ends, strict=True)}


def kill_once(project: Project, stage: str, seconds: dict[str, float], rng: random.Random, run: int) -> Kill | str:
    """Resume, and kill in the next step of a stage at a random moment; return what was reused if it came to its end."""
    known, reused, kill = steps(project.rounds), "", None
    said: deque[str] = deque(maxlen=50)
    with project.start() as process:
        for line in process.stdout:
            said.append(line)
            if match := _REUSED.search(line):
                reused = f"{match[1]} of {match[2]}"
            match = _STARTED.search(line)
            if kill is None and match and known[match[1]][1] == stage:
                waited = rng.uniform(0, seconds[match[1]])
                time.sleep(waited)
                process.send_signal(signal.SIGKILL)
                kill = Kill(run, known[match[1]][0], stage, waited, 0, 0, reused)
    if kill is None or process.returncode != -signal.SIGKILL:
        assert process.returncode == 0, "".join(said)
        return reused
    kill.images = len(list(project.data.glob("unfinished/*/images/*.png")))
    states = [load_file(path) for path in project.data.glob("unfinished/*/training.safetensors")]
    kill.training_steps = sum(len(state["losses"]) for state in states)
    return kill


def kill_test(
    kills: int,
    folder: Path,
    seed: int = 0,
    order: Sequence[str] = (),
    rounds: int = ROUNDS,
    start: Callable[..., Any] = start_kedro,
) -> Iterator[Kill]:
    """Kill and resume so many times; raise AssertionError as soon as something is lost, half-written or different.

    Args:
        order: of the stages to kill in; random ones after these.
        start: another way to start `kedro` than `start_kedro`.
    """
    rng, done, run = random.Random(seed), 0, 0
    whole = make_project(folder / "undisturbed", rounds, start)
    seconds = undisturbed(whole)
    whole.check()
    waiting = list(reversed(order))
    while done < kills:
        run += 1
        project, finished = make_project(folder / f"run_{run}", rounds, start), False
        while not finished:
            waiting = waiting or rng.sample([each.name for each in METHOD], len(METHOD))
            stage = waiting.pop() if done < kills else TO_THE_END
            result = kill_once(project, stage, seconds, rng, run)
            project.check()
            finished = isinstance(result, str)
            if isinstance(result, Kill):
                done += 1
                yield result
            elif done < kills:
                waiting.insert(0, stage)  # it had no step of that stage left
        compare(project, whole)
        left = [path for path in project.data.glob("unfinished/*") if not path.name.startswith("run_")]
        assert not left, "unfinished work is left"  # marks of killed runs go when the next run in one process begins
        shutil.rmtree(project.folder)


def compare(project: Project, whole: Project) -> None:
    """Raise AssertionError unless every artifact is, byte for byte, that of the undisturbed run."""
    ours, theirs = project.artifacts(), whole.artifacts()
    assert ours.keys() == theirs.keys(), "the resumed run has other artifacts than the undisturbed one"
    differing = [name for key, outputs in ours.items() for name in outputs if outputs[name] != theirs[key][name]]
    assert not differing, f"differ from the undisturbed run's: {', '.join(differing)}"


def table(kills: list[Kill], seed: int) -> str:
    """Return the kills as a page in Markdown."""
    lines = [
        f"# {len(kills)} kills, all resumed",
        "",
        f"Made by `python benchmarks/kill_test.py --kills {len(kills)} --seed {seed}` ({date.today()}):",
        "runs of three rounds in the environment `test`, one thread,",
        "each killed (SIGKILL) at random moments and resumed until it came to its end. After every kill each file",
        "was read to its end, and every image that was finished before was there, and not generated again; at the end",
        "all artifacts were, byte for byte, those of a run that nobody disturbed. The script ends at the first kill",
        "of which that is not true.",
        "",
        "| # | run | stage | killed in | after s | images of the step on disk | training steps kept | reused before |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, kill in enumerate(kills, start=1):
        cells = (kill.run, kill.stage, kill.step, f"{kill.seconds:.2f}", kill.images, kill.training_steps, kill.reused)
        lines.append(f"| {number} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table as it grows, or write it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--table", type=Path, help="a file for the table")
    given = options.parse_args()
    kills = []
    with tempfile.TemporaryDirectory() as folder:
        for kill in kill_test(given.kills, Path(folder), given.seed):
            kills.append(kill)
            sys.stderr.write(f"{len(kills)} of {given.kills}: {kill.step} after {kill.seconds:.2f} s\n")
    (given.table.write_text if given.table else sys.stdout.write)(table(kills, given.seed))


if __name__ == "__main__":
    main()
