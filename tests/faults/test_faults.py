"""Faults done to real runs: what is said, that nothing finished is lost, and that the run goes on to the same end."""

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import kedro_process
import pytest
import torch
from kedro_process import KedroProcess

from rsidiff_kedro.core.file_lock import take_lock
from rsidiff_kedro.provenance.records import Record, Records, chain

SOURCE = Path(__file__).parents[2] / "src"
CUT = {
    "an image (PNG) of an earlier stage is cut": "03_primary/rsi/round_1/images/*/images/images/*_0.png",
    "an adapter (safetensors) is cut": "06_models/rsi/round_0/adapter/*/adapter/*.safetensors",
    "a table (Parquet) is cut": "04_feature/rsi/round_1/scores.parquet/*/scores.parquet",
}
DELETED = {
    "an image in the middle is deleted": "07_model_output/rsi/round_1/test_images/*/test_images/images/*.png",
    "a table in the middle is deleted": "04_feature/rsi/round_1/weights.parquet/*/weights.parquet",
}


TORN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "latents (safetensors) end in zeros, as after a power cut": (
        "03_primary/rsi/round_1/images/*/images/latents.safetensors",
        lambda whole: whole[:-500] + bytes(500),
    ),
    "a training set (safetensors) is all zeros": (
        "05_model_input/rsi/round_1/training_set/*/training_set/latents.safetensors",
        lambda whole: bytes(len(whole)),
    ),
    "metrics (JSON) are empty": ("08_reporting/rsi/round_0/metrics.json/*/metrics.json", lambda whole: b""),
    "the report (HTML) is cut": ("08_reporting/report.html/*/report.html", lambda whole: whole[:4096]),
}
TORN_RECORDS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a record of lineage is cut": ("rsi.round_1.evaluation.measure", lambda whole: whole[:100]),
    "a record of lineage is empty": ("rsi.round_1.preference_selection.select_samples", lambda whole: b""),
    "a record of lineage is all zeros": ("rsi.round_1.finetune.measure_training", lambda whole: bytes(len(whole))),
}
MADE_AGAIN = (
    "rsi.round_0.finetune.start_adapter",
    "rsi.round_1.synthesis.generate_images",
    "rsi.round_1.preference_selection.score_images",
    "rsi.round_1.evaluation.generate_test_images",
    "rsi.round_1.weighting.weigh_samples",
    "rsi.round_1.finetune.build_training_set",
    "rsi.round_0.evaluation.measure",
    "report.make_report",
    *(step for step, _ in TORN_RECORDS.values()),
)


def test_what_is_torn_or_gone_is_made_again_and_nothing_else(place, finished, note) -> None:
    paths: dict[str, Path] = {
        fault: sorted(place.data.glob(pattern))[0] for fault, pattern in {**CUT, **DELETED}.items()
    }
    for fault, path in paths.items():
        if fault in CUT:
            path.write_bytes(path.read_bytes()[:100])
        else:
            path.unlink()
    torn = {fault: (sorted(place.data.glob(pattern))[0], tear) for fault, (pattern, tear) in TORN.items()}
    records = {json.loads(path.read_bytes())["step"]: path for path in place.data.glob("lineage/*.json")}
    for path, tear in [*torn.values(), *((records[step], tear) for step, tear in TORN_RECORDS.values())]:
        path.write_bytes(tear(path.read_bytes()))
    for path in place.data.glob("lineage/runs/*.json"):
        path.write_bytes(b"")
    (version,) = {record.version for record in Records(finished.data / "lineage").all()}
    code, output = place.run("--params=rounds=1", "--only-missing-outputs")
    assert code == 0
    made = [record.step for record in Records(place.data / "lineage").all() if record.version != version]
    assert sorted(made) == sorted(MADE_AGAIN)
    assert place.artifacts() == finished.artifacts()
    names = [path.parents[0].name if path.suffix == ".safetensors" else path.name for path, _ in torn.values()]
    assert names == ["images", "training_set", "metrics.json", "report.html"]
    steps = ["images", "adapter", "scores", "test_images", "weights", "images", "training_set", "metrics"]
    for name, fault in zip([*steps, "report"], [*paths, *torn], strict=True):
        said = next(line for line in output.splitlines() if re.search(rf"(\.|: ){name} is ", line))
        assert ("is gone" in said) == (name == "weights")
        note(fault, code, said, "its step is made again, no other; all artifacts as before")
    for fault in TORN_RECORDS:
        note(fault, code, "", "as if its step had never been made; all artifacts as before")


GO_ON = "--only-missing-outputs"
KEPT = "nothing that was there is lost"


@pytest.mark.parametrize(
    ("fault", "value", "said"),
    [
        ("a preference model returns NaN", float("nan"), "is NaN or infinite for 12 of 12 images"),
        ("a preference model returns one constant", 1e-30, "for all 12 images and cannot rank them"),
    ],
)
def test_scores(
    place, finished, note, reward_folder: Path, tmp_path: Path, fault: str, value: float, said: str
) -> None:
    weights = torch.load(reward_folder / "aesthetic" / "aesthetic-model.pth", weights_only=True)
    head = tmp_path / "aesthetic-model.pth"
    filled = {name: torch.full_like(each, value if each.ndim > 1 else value * 0) for name, each in weights.items()}
    torch.save(filled, head)
    selection = "preference_selection.rewards.proxy=0,preference_selection.rewards.aesthetic=1"
    models = f"rewards.aesthetic.checkpoint={head},rewards.aesthetic.clip={reward_folder / 'clip'}"
    code, output = place.run(f"--params=rounds=1,{selection},{models}", GO_ON, "--to-outputs=rsi.round_1.selection")
    assert code == 1
    assert said in output
    assert finished.artifacts().items() <= place.artifacts().items()
    note(fault, code, output, KEPT)


@pytest.mark.parametrize(
    ("fault", "output_dataset", "params", "said"),
    [
        (
            "all samples are rejected",
            "rsi.round_1.selection",
            "preference_selection.min_margin=1000",
            "none of 12 samples is kept",
        ),
        (
            "all weights vanish",
            "rsi.round_1.weights",
            "weighting.temperature=1.0e-9,weighting.quantile=0",
            "the weights of 6 of 7 samples vanish",
        ),
        (
            "the loss explodes to NaN",
            "rsi.round_1.candidate",
            "finetune.learning_rate=1.0,finetune.steps=30",
            "lower finetune.learning_rate (now 1.0); the last round's adapter is kept",
        ),
    ],
)
def test_numbers(place, finished, note, fault: str, output_dataset: str, params: str, said: str) -> None:
    code, output = place.run(f"--params=rounds=1,{params}", GO_ON, f"--to-outputs={output_dataset}")
    assert code == 1
    assert said in output
    assert finished.artifacts().items() <= place.artifacts().items()
    note(fault, code, output, KEPT)


IMAGES = ("--params=rounds=1", "--to-outputs=rsi.round_1.images")
LONGER = "--params=rounds=1,finetune.steps=60"


ON_A_SMALL_DISK = """
import importlib, json, os, subprocess, sys
import kedro_process
for name in kedro_process.LIBRARIES:
    importlib.import_module(name)
for said, mount, arguments in json.loads(sys.argv[1]):
    subprocess.run(mount, check=True)
    run = os.fork()
    if not run:
        output = os.open(said, os.O_WRONLY | os.O_CREAT)
        kedro_process.become_kedro(output, os.getcwd(), arguments, dict(os.environ))
    print(os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]), flush=True)
subprocess.run(["cp", "-r", "data", "saved"], check=True)
"""


GENERATE = ["run", "--env=test", *IMAGES]
PRUNE = ["rsi", "prune", "--env=test", "--params=keep.runs=1", "--delete"]
TMPFS = ["mount", "-t", "tmpfs", "none", "data", "-o"]
REMOUNT = ["mount", "data", "-o"]
Step = tuple[str, list[str], list[str], int]


def on_a_small_disk(place, *steps: Step) -> list[str]:
    """Mount each step's disk as the data folder, run its command, and return what all say.

    A step has a name, what mounts the disk, the arguments of `kedro`, and the exit code that is expected.
    """
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system in a name space of its own")
    (place.folder / "data").mkdir()
    commands = [(f"{name}.txt", mount, arguments) for name, mount, arguments, _ in steps]
    paths = os.pathsep.join([str(Path(kedro_process.__file__).parent), str(SOURCE)])
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", ON_A_SMALL_DISK, json.dumps(commands)],
        cwd=place.folder,
        env=place.environment | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    said = [(place.folder / f"{name}.txt").read_text(encoding="utf-8") for name, *_ in steps]
    assert [*map(int, done.stdout.split())] == [code for *_, code in steps], "".join(said) + done.stderr
    assert "Traceback" not in "".join(said)
    (place.folder / "data").rmdir()
    (place.folder / "saved").rename(place.folder / "data")
    return said


def assert_went_on(place, finished, said: str) -> None:
    """All that was made, the images too, is what an undisturbed run made, and what was finished was reused."""
    made = place.artifacts()
    assert made.items() <= finished.artifacts().items()
    assert any("rsi.round_1.images" in outputs for outputs in made.values())
    reused = re.search(r"(\d+) of 9 steps are reused", said)
    assert reused and int(reused[1]) >= 3


def test_a_disk_that_is_full_or_read_only(new_place, finished, note, tmp_path: Path) -> None:
    place = new_place(tmp_path)
    full, read_only, enough = on_a_small_disk(
        place,
        ("full", [*TMPFS, "size=700k"], GENERATE, 1),
        ("read_only", [*REMOUNT, "remount,ro"], [*GENERATE, GO_ON], 1),
        ("enough", [*REMOUNT, "remount,rw,size=100m"], [*GENERATE, GO_ON], 0),
    )
    assert "the disk is full" in full
    assert "a file cannot be read or written" in read_only
    assert_went_on(place, finished, enough)
    note(
        "the disk is full (tmpfs of 700 KB)", 1, full, "with more space it goes on; the images as of an undisturbed run"
    )
    note("the disk is read-only", 1, read_only, "the same")


FEW_INODES = " ".join([*TMPFS, "size=100m,nr_inodes=100"])
LEFT_OVER = "mkdir -p data/test/03_primary && touch -d '2 days ago' data/test/03_primary/.old.json.0123abcd.partial"


def test_a_disk_without_free_inodes(new_place, finished, note, tmp_path: Path) -> None:
    place = new_place(tmp_path)
    full, pruned, enough = on_a_small_disk(
        place,
        ("full", ["sh", "-c", f"{FEW_INODES} && {LEFT_OVER}"], GENERATE, 1),
        ("pruned", ["true"], PRUNE, 0),
        ("enough", [*REMOUNT, "remount,nr_inodes=10000"], [*GENERATE, GO_ON], 0),
    )
    assert "has no free inodes" in full and "`df -i`" in full
    assert "Deleted: " in pruned and not list(place.data.rglob(".old.json.*"))
    assert_went_on(place, finished, enough)
    note(
        "no free inodes (tmpfs of 100 MB)",
        1,
        full,
        "`prune --delete` works there; with more it goes on; the images as of an undisturbed run",
    )


def test_memory_that_does_not_suffice(place, finished, note) -> None:
    params = "--params=rounds=1,synthesis.sampler.micro_batch_size=1024"
    with place.start(params, GO_ON, "--to-outputs=rsi.round_1.images") as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "steps are reused" in line:
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
                now = 1024 * int(re.search(r"VmSize:\s+(\d+)", status)[1])  # type: ignore[index]
                resource.prlimit(process.pid, resource.RLIMIT_AS, (now + 700_000_000,) * 2)
    assert process.returncode == 1, said
    assert "memory ran out in rsi.round_1.synthesis.generate_images; lower synthesis.sampler.micro_batch_size" in said
    assert "Traceback" not in said
    assert finished.artifacts().items() <= place.artifacts().items()
    note("memory is limited", process.returncode, said, "nothing is lost")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 1), ("SIGTERM", 143)])
def test_a_signal(place, note, name: str, code: int) -> None:
    with place.start(LONGER, GO_ON) as process:
        wait_for(lambda: list(place.data.glob("unfinished/*/training.safetensors")), process)
        process.send_signal(getattr(signal, name))
        output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "Traceback" not in output
    assert "what is finished is kept" in output
    assert statuses(place.folder)[0] == "KILLED"
    state = list(place.data.glob("unfinished/*/training.safetensors"))
    assert len(state) == 1
    if name == "SIGINT":  # how a run goes on is the same after any end
        again, said = place.run(LONGER, GO_ON)
        assert again == 0
        assert re.search(r"fine-tuning: +[1-9]\d*%\|[^|]*\| [1-9]\d*/60 \[00:00<", said)  # not from its first step
        assert not list(place.data.glob("unfinished/*"))
    title = f"{name}{' (Ctrl-C)' if name == 'SIGINT' else ''} in fine-tuning"
    note(title, code, output, "MLflow says KILLED; fine-tuning goes on from its last checkpoint")


def statuses(project: Path) -> list[str]:
    """Of the parent runs in MLflow, the newest first."""
    children = "select run_uuid from tags where key = 'mlflow.parentRunId'"
    query = f"select status from runs where run_uuid not in ({children}) order by start_time desc"
    with sqlite3.connect(project / "mlflow.db") as store:
        return [status for (status,) in store.execute(query)]


def count(table: str, project: Path) -> int:
    with sqlite3.connect(project / "mlflow.db") as store:
        return int(store.execute(f"select count(*) from {table}").fetchone()[0])


def wait_for(condition, process: KedroProcess) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["another process locks MLflow's database for a while", "MLflow's database is gone"])
def test_a_store_that_fails_in_the_middle(place, note, fault: str) -> None:
    store = place.folder / "mlflow.db"
    arguments = ("--params=rounds=1,evaluation.bootstrap_resamples=50", GO_ON)
    written = count("params", place.folder)
    with place.start(*arguments) as process:
        wait_for(lambda: count("params", place.folder) == 2 * written, process)
        output = ""
        if "gone" in fault:
            store.unlink()
        else:  # held until it is said: each record waits 20 seconds
            with closing(sqlite3.connect(store, isolation_level=None)) as lock:
                lock.execute("begin exclusive")
                while "MLflow could not record" not in output and process.poll() is None:
                    output += process.stdout.readline()
        output += process.communicate(timeout=280)[0]
    assert process.returncode == 0, output
    assert output.count("MLflow could not record") == (3 if "gone" in fault else 1)
    assert ("Nothing more is recorded there" in output) == ("gone" in fault)
    assert "Traceback" not in output and "[SQL" not in output
    assert list(place.data.glob("08_reporting/report.html/*"))
    code, said = place.run(*arguments)
    assert code == 0
    assert "38 of 38 steps are reused" in said
    assert statuses(place.folder)[0] == "FINISHED"
    assert count("metrics", place.folder) > 20
    note(
        fault,
        process.returncode,
        output,
        "the same command computes nothing and records everything in a new MLflow run",
    )


CANDIDATE = "rsi.round_1.candidate"


@pytest.mark.parametrize("time", range(int(os.environ.get("TIMES", "1"))))
def test_two_runs_at_once_do_not_meet(new_place, finished, note, tmp_path, time: int) -> None:
    place = new_place(tmp_path)
    started = [place.start(f"--params=rounds=1,seed={seed}", f"--to-outputs={CANDIDATE}") for seed in (0, 1)]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], "".join(outputs)
    records = Records(place.data / "lineage").all()
    ends = [record for record in records if CANDIDATE in record.outputs]
    assert len(ends) == 2
    for end in ends:
        assert {record.version for record in chain(records, end)} == {end.version}
    assert undisturbed(finished) in [end.outputs for end in ends]
    note(
        "two runs at once in one folder", 0, "", "each stands on its own artifacts alone, the same as without the other"
    )


DAY_BEFORE = """
import datetime, time_machine
yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
time_machine.travel(yesterday, tick=True).start()
"""


def test_a_clock_that_jumps_back(new_place, finished, note, tmp_path) -> None:
    place = new_place(tmp_path)
    ends = [f"--to-outputs={CANDIDATE}", GO_ON]
    before, _ = place.run("--params=rounds=1,seed=1", *ends)
    assert before == 0
    code, output = place.run("--params=rounds=1,seed=0", *ends, prelude=DAY_BEFORE)
    assert code == 0, output
    records = Records(place.data / "lineage")
    earlier, later = (record for record in records.all() if CANDIDATE in record.outputs)
    assert earlier.version[:10] < later.version[:10]
    assert earlier.outputs == undisturbed(finished)
    again, said = place.run("--params=rounds=1,seed=0", *ends)
    assert again == 0
    assert "15 of 15 steps are reused" in said
    note(
        "the clock jumps back a day between two runs",
        code,
        output,
        "the second reads what it made itself and not what looks newer; the same command computes nothing",
    )


JUMPING = """
import datetime, itertools, time_machine
from kedro.runner.task import Task
execute, jumps = Task.execute, itertools.cycle([datetime.timedelta(hours=-1), datetime.timedelta(days=365)])
clock = None
def jump(task):
    global clock
    moved = datetime.datetime.now(datetime.UTC) + next(jumps)
    if clock is not None:
        clock.stop()
    clock = time_machine.travel(moved, tick=True)
    clock.start()
    return execute(task)
Task.execute = jump
"""


def test_a_clock_that_jumps_between_steps(new_place, finished, note, tmp_path) -> None:
    place = new_place(tmp_path)
    code, output = place.run("--params=rounds=1", prelude=JUMPING)
    assert code == 0, output
    assert place.artifacts() == finished.artifacts()
    assert len({record.version for record in Records(place.data / "lineage").all()}) == 1
    assert statuses(place.folder) == ["FINISHED"]
    again, said = place.run("--params=rounds=1", GO_ON, prelude=JUMPING)
    assert again == 0
    assert re.search(r"(\d+) of \1 steps are reused", said), said
    note(
        "the clock jumps between the steps of a run, an hour back and a year forward in turn",
        code,
        output,
        "all artifacts as before, under one version; the same command computes nothing",
    )


def test_a_clock_that_stands_still_where_an_earlier_run_began(place, finished, note) -> None:
    """As a machine without a clock of its own, or one that is put back to an earlier state, may have it."""
    (version,) = {record.version for record in Records(finished.data / "lineage").all()}
    moment = f"{version[:10]}T{version[11:23].replace('.', ':', 2)}+00:00"
    frozen = f"import time_machine; time_machine.travel({moment!r}, tick=False).start()"
    code, output = place.run("--params=rounds=1,seed=1", prelude=frozen)
    assert code == 1
    assert f"the clock says {version}, when an earlier run began" in output
    assert place.artifacts() == finished.artifacts()
    note("the clock stands still at the moment when an earlier run began", code, output, KEPT)


def undisturbed(finished) -> dict[str, str]:
    """What the run with seed 0 made when it was alone."""
    made: Record = next(each for each in Records(finished.data / "lineage").all() if CANDIDATE in each.outputs)
    return made.outputs


REFUSING = """
import errno, fcntl
def flock(*_):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""


def test_a_file_system_without_locks(place, note) -> None:
    code, output = place.run("--params=rounds=1,evaluation.bootstrap_resamples=50", GO_ON, prelude=REFUSING)
    assert code == 0, output
    assert not list(place.folder.rglob("*.held"))
    assert statuses(place.folder)[0] == "FINISHED"
    note("the file system refuses locks (ENOLCK)", code, output, "a marker file stands for each lock, and goes with it")


def test_the_lock_of_mlflows_store_is_held(place, note) -> None:
    lock = take_lock(place.folder / "mlflow.db.lock")
    assert lock is not None
    with place.start("--params=rounds=1", GO_ON) as process:
        said = ""
        while "is held by another process" not in said:
            said += process.stdout.readline()
            assert process.poll() is None, said
        lock.release()
        rest, _ = process.communicate(timeout=280)
    output = said + rest
    assert process.returncode == 0, output
    assert statuses(place.folder)[0] == "FINISHED"
    note(
        "MLflow's lock file is held by another process",
        0,
        output,
        "the run goes on when it is free, or ends after 60 s",
    )
