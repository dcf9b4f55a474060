"""Runs of a study are made side by side, once, and go on after a failure."""

import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from another_user import as_another_user

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.study import runs
from rsidiff_kedro.study.runs import Job, _locked, _prepare, check_data, check_owner, own, run_jobs, run_project


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return [
        Job(arm, seed, 2, tmp_path / arm / f"seed_{seed}", None, {"seed": seed})
        for seed in (3, 4)
        for arm in ("method", "naive")
    ]


def found(job: Job) -> None:
    """Find what `Runs` makes."""
    if not (job.folder / "metrics.json").exists():
        raise InputError("no run made metrics")


def right(job: Job) -> None:
    """Find nothing wrong with a run that begins."""


class Runs:
    """Stands for kedro: notes which runs were made; those of some names fail, and one makes something else."""

    def __init__(self, fails: Sequence[str] = (), other: str = "") -> None:
        self.made: list[str] = []
        self.fails, self.other = fails, other

    def __call__(self, job: Job, log: Path) -> int:
        self.made.append(job.name)
        log.write_text("one\n\ntwo\x1b[0m\nlast line\n", encoding="utf-8")
        if job.name != self.other:
            log.with_name("metrics.json").write_text(job.name, encoding="utf-8")
        return int(job.name in self.fails)


def test_a_run_that_makes_something_else_has_failed(jobs: list[Job]) -> None:
    said, made = list[str](), Runs(other=jobs[0].name)
    assert run_jobs(jobs, made, found, 2, said.append, threading.Event()) == [jobs[0]]
    assert sorted(made.made) == sorted(job.name for job in jobs) and "  no run made metrics" in said


def test_a_failed_run_is_told_with_the_end_of_its_log_and_the_others_go_on(jobs: list[Job]) -> None:
    said: list[str] = []
    failed = run_jobs(jobs, Runs(["naive seed 3"]), found, 1, said.append, threading.Event())
    assert [job.name for job in failed] == ["naive seed 3"]
    text = "\n".join(said)
    assert "naive seed 3: FAILED" in text and "  exit code 1; " in text and "  last line" in text
    assert "\\x1b" in text and "\x1b" not in text


def test_a_run_that_raises_is_told_as_failed_and_the_others_go_on(jobs: list[Job]) -> None:
    made, said = Runs(), list[str]()

    def run(job: Job, log: Path) -> int:
        if job is jobs[0]:
            raise InputError("conf is a copy; remove it")
        return made(job, log)

    assert run_jobs(jobs, run, found, 1, said.append, threading.Event()) == [jobs[0]]
    assert len(made.made) == 3 and "  conf is a copy; remove it" in said


def test_each_finished_run_has_a_line_with_the_time_left(jobs: list[Job]) -> None:
    said: list[str] = []
    run_jobs(jobs, Runs(), found, 1, said.append, threading.Event())
    assert said[0].startswith("method seed 3: done in ") and "(1 of 4, about " in said[0]
    assert said[-1].endswith("(4 of 4)")


def test_what_ends_the_study_ends_its_waiting_runs(jobs: list[Job]) -> None:
    counted = Runs()

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    def slow(job: Job, log: Path) -> int:
        if counted.made:
            time.sleep(0.5)
        return counted(job, log)

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, slow, found, 1, interrupt, threading.Event())
    assert len(counted.made) < len(jobs)


def test_a_run_gets_its_parameters_and_shares_the_configuration(jobs: list[Job], tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "conf").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    for _ in range(2):
        _prepare(jobs[0], root)
    assert (jobs[0].folder / "conf").resolve() == root / "conf" and (jobs[0].folder / "src").is_dir()
    assert yaml.safe_load((jobs[0].folder / "parameters.yml").read_text()) == {"run": {"params": {"seed": 3}}}


def test_the_run_of_a_project_that_was_copied_or_moved_reads_its_own_configuration(
    jobs: list[Job], tmp_path: Path
) -> None:
    jobs[0].folder.mkdir(parents=True)
    for name, before in {"copied": tmp_path / "original", "moved": tmp_path / "gone"}.items():
        root = tmp_path / name
        (root / "conf").mkdir(parents=True)
        (tmp_path / "original" / "conf").mkdir(parents=True, exist_ok=True)
        (jobs[0].folder / "conf").unlink(missing_ok=True)
        (jobs[0].folder / "conf").symlink_to(before / "conf")
        _prepare(jobs[0], root)
        assert (jobs[0].folder / "conf").resolve() == root / "conf"


def test_a_configuration_that_is_no_link_is_not_read_in_place_of_the_project_s(jobs: list[Job], tmp_path: Path) -> None:
    (tmp_path / "root" / "conf").mkdir(parents=True)
    (jobs[0].folder / "conf").mkdir(parents=True)
    with pytest.raises(InputError, match=r"is a copy of .*; remove it"):
        _prepare(jobs[0], tmp_path / "root")


def test_supervised_fine_tuning_runs_the_base_first(jobs: list[Job]) -> None:
    commands = replace(jobs[0], pipeline="sft", env="test").commands()
    assert [command[-1] for command in commands] == ["--to-outputs=rsi.round_0.metrics", "--pipeline=sft"]
    assert all("--env=test" in command and "--only-missing-outputs" in command for command in commands)


def test_a_run_waits_for_a_process_that_still_makes_it(tmp_path: Path) -> None:
    code = "import sys; print(flush=True); sys.stdin.read()"
    with _locked(tmp_path, print, threading.Event()) as lock:
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[lock]
        )
    assert child.stdout is not None and child.stdin is not None
    child.stdout.readline()
    assert not _is_free(tmp_path)
    child.stdin.close()
    child.wait()
    assert _is_free(tmp_path)


def test_a_run_that_is_being_made_keeps_its_parameters(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Job, "commands", lambda job: [])
    job, root = jobs[0], jobs[0].folder.parent
    job.folder.mkdir(parents=True)
    parameters = job.folder / "parameters.yml"
    parameters.write_text("those of the run that is being made")
    other = threading.Thread(
        target=run_project(root, right, print, threading.Event()), args=(job, job.folder / "log.txt")
    )
    with _locked(job.folder, print, threading.Event()):
        other.start()
        time.sleep(0.3)
        assert parameters.read_text() == "those of the run that is being made"
    other.join()
    assert yaml.safe_load(parameters.read_text()) == {"run": {"params": {"seed": 3}}}


def test_a_run_that_waited_is_checked_when_it_begins(jobs: list[Job]) -> None:
    def refuse(job: Job) -> None:
        raise InputError("conf/ was edited meanwhile")

    said, run = list[str](), run_project(jobs[0].folder.parent, refuse, print, threading.Event())
    assert run_jobs(jobs[:1], run, found, 1, said.append, threading.Event()) == jobs[:1]
    assert "  conf/ was edited meanwhile" in said and not (jobs[0].folder / "parameters.yml").exists()


def test_who_waits_says_so_once_and_ctrl_c_ends_it(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_SILENT", 0.0)
    job, stopped, said = jobs[0], threading.Event(), list[str]()
    job.folder.mkdir(parents=True)
    run = run_project(job.folder.parent, right, said.append, stopped)

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    def first_ends(each: Job, log: Path) -> int:
        if each is not job:
            time.sleep(1)
            return 0
        return run(job, log)

    with _locked(job.folder, print, threading.Event()), pytest.raises(KeyboardInterrupt):
        run_jobs(jobs[:2], first_ends, found, 2, interrupt, stopped)
    assert len(said) == 1 and "waiting for another process that makes this run; `fuser " in said[0]
    assert _is_free(job.folder)


def _is_free(folder: Path) -> bool:
    descriptor = os.open(folder / ".lock", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(("mode", "locks"), [(0o644, True), (0o600, False)])
def test_another_user_of_a_shared_folder_makes_the_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, locks: bool
) -> None:
    monkeypatch.chdir(tmp_path)  # the folders above are closed to others
    folder = Path()
    folder.chmod(0o777)
    before = os.umask(0o002)
    with _locked(folder, print, threading.Event()):
        os.umask(before)
    assert stat.S_IMODE((folder / ".lock").stat().st_mode) == 0o664
    (folder / ".lock").chmod(mode)

    def lock() -> int:
        try:
            with _locked(folder, print, threading.Event()):
                return int(not _is_free(folder))
        except InputError as error:
            return 3 if "closed to this user; open it and its folder (`chmod g+rwX`)" in str(error) else 2

    assert as_another_user(lock) == (1 if locks else 3)


def test_a_lock_that_a_network_s_disk_refuses_to_readers_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    refused = pytest.raises(InputError, match="the lock of a run, is closed to this user")
    with refused, _locked(tmp_path, print, threading.Event()):
        pass


def test_a_project_copied_with_the_studies_beside_it_is_its_own(tmp_path: Path) -> None:
    first = tmp_path / "first"
    (first / "project").mkdir(parents=True)
    (first / "mine.yml").touch()
    own(first / "project/data/study/mine", first / "mine.yml", first / "project")
    shutil.copytree(first, tmp_path / "second")
    for place in (first, tmp_path / "second"):
        project = place / "project"
        check_owner(project / "data/study/mine", place / "mine.yml", project)
        other = project / "mine.yml"
        other.touch()
        says = f"holds the runs of the study {place}/mine.yml, .* remove that file if it is the same study, or rename"
        with pytest.raises(InputError, match=says):
            check_owner(project / "data/study/mine", other, project)


def test_a_study_in_a_folder_that_is_closed_to_this_user_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, closed, file = tmp_path / "data/study/mine", tmp_path / "home/mine.yml", tmp_path / "mine.yml"
    own(folder, closed, tmp_path)

    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    says = rf"the study {closed}, .*; it cannot be looked at \(Permission denied\): rename this file"
    with pytest.raises(InputError, match=says):
        check_owner(folder, file, tmp_path)


@pytest.mark.parametrize("data", ["/elsewhere", "../data", "data/../../x"])
def test_runs_must_not_share_their_data(data: str) -> None:
    with pytest.raises(InputError, match="all runs of the study would share"):
        check_data(data)


def test_data_in_the_project_is_apart() -> None:
    check_data("data/test")
