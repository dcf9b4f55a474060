"""Faults done to real runs: what is said, that nothing finished is lost, and that the run goes on to the same end."""

import os
import re
import resource
import shlex
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
import torch

from rsidiff_kedro.core.file_lock import take_lock
from rsidiff_kedro.provenance.records import Record, Records, chain

CUT = {
    "an image (PNG) of an earlier stage is cut": "03_primary/rsi/round_1/images/*/images/images/*_0.png",
    "an adapter (safetensors) is cut": "06_models/rsi/round_0/adapter/*/adapter/*.safetensors",
    "a table (Parquet) is cut": "04_feature/rsi/round_1/scores.parquet/*/scores.parquet",
}
DELETED = {
    "an image in the middle is deleted": "07_model_output/rsi/round_1/test_images/*/test_images/images/*.png",
    "a table in the middle is deleted": "04_feature/rsi/round_1/weights.parquet/*/weights.parquet",
}


MADE_AGAIN = (
    "rsi.round_0.finetune.start_adapter",
    "rsi.round_1.synthesis.generate_images",
    "rsi.round_1.preference_selection.score_images",
    "rsi.round_1.evaluation.generate_test_images",
    "rsi.round_1.weighting.weigh_samples",
    "rsi.round_1.evaluation.measure",
)


def test_what_is_cut_or_gone_is_made_again_and_nothing_else(place, finished, note) -> None:
    paths: dict[str, Path] = {
        fault: sorted(place.data.glob(pattern))[0] for fault, pattern in {**CUT, **DELETED}.items()
    }
    for fault, path in paths.items():
        if fault in CUT:
            path.write_bytes(path.read_bytes()[:100])
        else:
            path.unlink()
    records = place.data.glob("lineage/*.json")
    measured = next(path for path in records if '"rsi.round_1.evaluation.measure"' in path.read_text())
    measured.write_bytes(measured.read_bytes()[:100])
    (version,) = {record.version for record in Records(place.data / "lineage").all()}
    code, output = place.run("--params=rounds=1", "--only-missing-outputs")
    assert code == 0
    made = [record.step for record in Records(place.data / "lineage").all() if record.version != version]
    assert sorted(made) == sorted(MADE_AGAIN)
    assert place.artefacts() == finished.artefacts()
    steps = {"images": 0, "adapter": 1, "scores": 2, "test_images": 3, "weights": 4}
    for name, fault in zip(steps, paths, strict=True):
        said = next(line for line in output.splitlines() if f".{name} is " in line)
        assert ("is gone" in said) == (name == "weights")
        note(fault, code, said, "its step is made again, no other; all artefacts as before")
    note("a record of lineage is cut", code, "", "as if its step had never been made; all artefacts as before")


GO_ON = "--only-missing-outputs"
KEPT = "nothing that was there is lost"


@pytest.mark.parametrize(
    ("fault", "value", "said"),
    [
        ("a preference model returns NaN", float("nan"), "is NaN or infinite for 12 of 12 images"),
        ("a preference model returns one constant", 0.0, "for all 12 images and cannot rank them"),
    ],
)
def test_scores(
    place, finished, note, reward_folder: Path, tmp_path: Path, fault: str, value: float, said: str
) -> None:
    weights = torch.load(reward_folder / "aesthetic" / "aesthetic-model.pth", weights_only=True)
    head = tmp_path / "aesthetic-model.pth"
    torch.save({name: torch.full_like(weight, value) for name, weight in weights.items()}, head)
    selection = "preference_selection.rewards.proxy=0,preference_selection.rewards.aesthetic=1"
    models = f"rewards.aesthetic.checkpoint={head},rewards.aesthetic.clip={reward_folder / 'clip'}"
    code, output = place.run(f"--params=rounds=1,{selection},{models}", GO_ON, "--to-outputs=rsi.round_1.selection")
    assert code == 1
    assert said in output
    assert finished.artefacts().items() <= place.artefacts().items()
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
    assert finished.artefacts().items() <= place.artefacts().items()
    note(fault, code, output, KEPT)


IMAGES = ("--params=rounds=1", "--to-outputs=rsi.round_1.images")
LONGER = "--params=rounds=1,finetune.steps=60"


def test_a_disk_that_is_full_or_read_only(new_project, finished, note, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system in a name space of its own")
    place = type(finished)(new_project(tmp_path / "project"))
    (place.folder / "data").mkdir()
    first, on = (shlex.join(place.command(*IMAGES, *more)) for more in ((), (GO_ON,)))
    script = f"""
        mount -t tmpfs -o size=700k none data
        {first} > full.txt 2>&1; echo $?
        mount -o remount,ro data
        {on} > read_only.txt 2>&1; echo $?
        mount -o remount,rw,size=100m data
        {on} > enough.txt 2>&1; echo $?
        cp -r data saved
    """
    command = ["unshare", "-rm", "sh", "-c", script]
    done = subprocess.run(command, cwd=place.folder, env=place.environment, capture_output=True, text=True)
    full, read_only, enough = ((place.folder / f"{name}.txt").read_text() for name in ("full", "read_only", "enough"))
    assert done.stdout.split() == ["1", "1", "0"], full + read_only + enough
    assert "the disk is full" in full
    assert "a file cannot be written" in read_only
    assert "Traceback" not in full + read_only
    (place.folder / "data").rmdir()
    (place.folder / "saved").rename(place.folder / "data")
    made, whole = place.artefacts(), finished.artefacts()
    assert made.items() <= whole.items()
    assert any("rsi.round_1.images" in outputs for outputs in made.values())
    reused = re.search(r"(\d+) of 9 steps are reused", enough)
    assert reused and int(reused[1]) >= 3
    note(
        "the disk is full (tmpfs of 700 KB)", 1, full, "with more space it goes on; the images as of an undisturbed run"
    )
    note("the disk is read-only", 1, read_only, "the same")


def test_memory_that_does_not_suffice(place, finished, note) -> None:
    params = "--params=rounds=1,synthesis.sampler.micro_batch_size=1024"
    with place.start(params, GO_ON, "--to-outputs=rsi.round_1.images") as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "steps are reused" in line:
                status = Path(f"/proc/{process.pid}/status").read_text()
                now = 1024 * int(re.search(r"VmSize:\s+(\d+)", status)[1])  # type: ignore[index]
                resource.prlimit(process.pid, resource.RLIMIT_AS, (now + 700_000_000,) * 2)
    assert process.returncode == 1, said
    assert "memory ran out in rsi.round_1.synthesis.generate_images; lower synthesis.sampler.micro_batch_size" in said
    assert "Traceback" not in said
    assert finished.artefacts().items() <= place.artefacts().items()
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


def metrics(project: Path) -> int:
    with sqlite3.connect(project / "mlflow.db") as store:
        return int(store.execute("select count(*) from metrics").fetchone()[0])


def wait_for(condition, process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


@pytest.mark.parametrize("fault", ["MLflow's database is locked by another process", "MLflow's database is gone"])
def test_a_store_that_fails_in_the_middle(place, note, fault: str) -> None:
    store = place.folder / "mlflow.db"
    arguments = ("--params=rounds=1,evaluation.bootstrap_resamples=50", GO_ON)
    with place.start(*arguments) as process:
        wait_for(lambda: len(statuses(place.folder)) == 2, process)
        time.sleep(1)  # it has written its parameters
        lock = sqlite3.connect(store, isolation_level=None)
        if "locked" in fault:
            lock.execute("begin exclusive")
        else:
            store.unlink()
        output, _ = process.communicate(timeout=280)
        lock.close()
    assert process.returncode == 0, output
    assert "MLflow could not record" in output
    assert list(place.data.glob("08_reporting/report.html/*"))
    code, said = place.run(*arguments)
    assert code == 0
    assert "38 of 38 steps are reused" in said
    assert statuses(place.folder)[0] == "FINISHED"
    assert metrics(place.folder) > 20
    note(
        fault,
        process.returncode,
        output,
        "the same command computes nothing and records everything in a new MLflow run",
    )


CANDIDATE = "rsi.round_1.candidate"


@pytest.mark.parametrize("time", range(int(os.environ.get("TIMES", "1"))))
def test_two_runs_at_once_do_not_meet(new_project, finished, note, tmp_path, time: int) -> None:
    place = type(finished)(new_project(tmp_path / "project"))
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
        "two runs at once in one folder", 0, "", "each stands on its own artefacts alone, the same as without the other"
    )


DAY_BEFORE = """
import datetime, time_machine
yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
time_machine.travel(yesterday, tick=True).start()
"""


def test_a_clock_that_jumps_back(new_project, finished, note, tmp_path, monkeypatch) -> None:
    place = type(finished)(new_project(tmp_path / "project"))
    ends = [f"--to-outputs={CANDIDATE}", GO_ON]
    before, _ = place.run("--params=rounds=1,seed=1", *ends)
    assert before == 0
    (tmp_path / "sitecustomize.py").write_text(DAY_BEFORE)
    with monkeypatch.context() as clock:
        clock.setenv("PYTHONPATH", str(tmp_path))
        code, output = place.run("--params=rounds=1,seed=0", *ends)
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


def test_a_file_system_without_locks(place, note, tmp_path, monkeypatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, output = place.run("--params=rounds=1,evaluation.bootstrap_resamples=50", GO_ON)
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
