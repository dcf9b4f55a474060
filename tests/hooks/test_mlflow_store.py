"""MLflow's store: a lock that is held, an experiment that was deleted, a project that was moved."""

import logging
import os
import shlex
import shutil
import socket
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest
from alembic.runtime.migration import HeadMaintainer
from another_host import HOST, hold_elsewhere
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.cli import cli

from rsidiff_kedro.core import lock_waits
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.file_lock import take_lock
from rsidiff_kedro.core.lock_waits import tell_lock_waits
from rsidiff_kedro.hooks import mlflow_store
from rsidiff_kedro.hooks.mlflow_store import TrackingError, TrackingSettings, connect, find_experiment, store_errors

SETTINGS = TrackingSettings(experiment="rounds", artifact_location="artifacts")


@pytest.fixture(autouse=True)
def no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(logging.getLogger("rsidiff_kedro"), "propagate", True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a store that holds the experiment; making one takes seconds."""
    root = tmp_path_factory.mktemp("made")
    connect(SETTINGS, root)
    return root


@pytest.fixture
def root(made: Path) -> Path:
    """The same project, with the experiment as it was made."""
    uri = SETTINGS.absolute_uri(made)
    experiment = MlflowClient(uri).get_experiment_by_name("rounds")
    if experiment.lifecycle_stage == "deleted":
        MlflowClient(uri).restore_experiment(experiment.experiment_id)
    return made


@pytest.mark.parametrize("name", ["my%20project", "a?b", "a#b"])
def test_a_project_whose_path_sqlite_misreads_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrackingError, match="SQLite's address cannot hold"):
        SETTINGS.absolute_uri(tmp_path / name)
    assert SETTINGS.absolute_uri(tmp_path / "100% [v2] {x} é")
    elsewhere = SETTINGS.model_copy(update={"tracking_uri": "sqlite:////a/b.db"})  # as the message advises
    assert elsewhere.absolute_uri(tmp_path / name) == "sqlite:////a/b.db"


@pytest.mark.parametrize("content", ["a folder", "not a database " * 100])
def test_a_store_that_cannot_be_opened_is_refused_at_once(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mlflow.db"
    path.mkdir() if content == "a folder" else path.write_text(content)
    before = time.monotonic()
    with pytest.raises(TrackingError, match=r"unable to open database file|file is not a database"), store_errors("it"):
        connect(SETTINGS, tmp_path)
    assert time.monotonic() - before < 60


def test_a_store_of_another_version_of_mlflow_is_refused_in_one_line(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "mlflow.db", tmp_path)
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.executescript("DROP TABLE jobs; UPDATE alembic_version SET version_num = 'to_come'")
    with pytest.raises(TrackingError, match=r"cannot be used \(Can't locate revision"), store_errors("it"):
        connect(SETTINGS, tmp_path)


def test_a_user_without_a_home_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    with (
        pytest.raises(InputError, match="MLflow needs a home folder, and this user has none; set HOME to a folder"),
        store_errors("it"),
    ):
        connect(SETTINGS, tmp_path)
    assert not [*tmp_path.iterdir()]


class Stopped(BaseException):
    """A signal to end, between the tables of a migration and the note of its end."""


@contextmanager
def stopped_in_its_migrations(after: int) -> Iterator[None]:
    """End whoever makes a store, after so many migrations."""
    steps = iter(range(after))

    def step(*_: object) -> None:
        if next(steps, None) is None:
            raise Stopped

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
        whole = HeadMaintainer.update_to_step
        patched.setattr(HeadMaintainer, "update_to_step", lambda *given: (step(), whole(*given)))
        yield


def test_a_store_whose_making_was_stopped_is_made_by_the_next_run(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"tracking_uri": "sqlite:///my%20store.db?timeout=9"})
    with stopped_in_its_migrations(9):
        connect(settings, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"my store.db.partial", "my store.db.lock"}
    (tmp_path / "my store.db-journal").write_bytes(b"of a store that was deleted")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(MlflowClient, "search_experiments", Mock(side_effect=Stopped))
        connect(settings, tmp_path)
    client, experiment = connect(settings, tmp_path)
    assert client.create_run(experiment)
    assert {path.name for path in tmp_path.iterdir()} == {"my store.db", "my store.db.lock"}


@pytest.mark.parametrize("after", [0, 9])
def test_a_store_that_mlflow_left_half_made_names_its_cure(tmp_path: Path, after: int) -> None:
    with stopped_in_its_migrations(after):
        MlflowClient(SETTINGS.absolute_uri(tmp_path)).search_experiments()
    for look in (connect, find_experiment):
        with pytest.raises(TrackingError, match=r"mlflow.db is half made: .* delete the file, unless"):
            look(SETTINGS, tmp_path)


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_those_write_a_new_store_whom_the_umask_lets(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        connect(SETTINGS, tmp_path)
    finally:
        os.umask(before)
    path = tmp_path / "mlflow.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    connect(SETTINGS, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640  # as somebody set it


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_of_a_shared_folder_records_too_and_is_told_what_is_sealed(root: Path, tmp_path: Path) -> None:
    for parent in [tmp_path, *tmp_path.parents][:4]:
        parent.chmod(parent.stat().st_mode | 0o055)
    shared = shutil.copytree(root, tmp_path / "shared")
    shared.chmod(0o2775)
    for path in shared.iterdir():
        os.chown(path, -1, ANOTHER)
        path.chmod(0o664)
    os.chown(shared, -1, ANOTHER)
    assert as_another_user(lambda: str(connect(SETTINGS, shared)[0].create_experiment("more"))).isdecimal()
    for path, mode in ((shared / "mlflow.db", 0o644), (shared / "mlflow.db.lock", 0o644), (shared, 0o2755)):
        path.chmod(mode)
        said = as_another_user(lambda: connect(SETTINGS, shared))
        assert f"{path}, which MLflow's store needs, belongs to root" in said
        assert f"`chmod g+w {path}`" in said
        path.chmod(mode | 0o020)


ANOTHER = 65534


def as_another_user(do: Callable[[], object]) -> str:
    """Return what a function returns or raises in a process of another user, which is forked."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(ANOTHER)
        os.setuid(ANOTHER)
        try:
            with store_errors("it"):
                text = str(do())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, encoding="utf-8") as said:
        return said.read()


@pytest.mark.parametrize("address", ["localhost:abc", "localhost:99999", "[::1:5000", "me:se/cret@host"])
def test_an_address_that_cannot_be_read_is_refused(tmp_path: Path, address: str) -> None:
    settings = SETTINGS.model_copy(update={"tracking_uri": f"http://{address}"})
    with pytest.raises(TrackingError, match="whose host or port cannot be read; correct"), store_errors("it"):
        connect(settings, tmp_path)


def test_a_server_that_never_answers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_store, "ANSWERS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = SETTINGS.model_copy(update={"tracking_uri": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        before = time.monotonic()
        with pytest.raises(TrackingError, match=r"cannot be used .*/health failed"), store_errors("it"):
            connect(server, tmp_path)
    assert time.monotonic() - before < 60


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_held_lock_is_named_after_a_while_and_given_up_after_another(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, elsewhere: bool
) -> None:
    monkeypatch.setattr(lock_waits, "NOTICED", 0.2)
    monkeypatch.setattr(mlflow_store, "LONGEST", 0.6)
    tell_lock_waits()
    path = root / "mlflow.db.lock"
    with ExitStack() as held:
        if elsewhere:
            held.callback(hold_elsewhere(path, monkeypatch).unlink)
            holder, advice = f"process {os.getpid()} on the host {HOST}", f"if it has ended, delete {path}.held"
        else:
            held.callback(take_lock(path).release)
            holder, advice = "another process", f"`fuser {path}` shows its number"
        before = time.monotonic()
        with pytest.raises(TrackingError, match=f"{path} has been held by") as error:
            connect(SETTINGS, root)
        assert 0.5 < time.monotonic() - before < 30
    (line,) = [record.getMessage() for record in caplog.records if " is held by " in record.getMessage()]
    for said in (line, str(error.value)):
        assert f"held by {holder}" in said and f"({advice})" in said
    assert "tracking.enabled=false" in str(error.value)
    assert connect(SETTINGS, root)


def test_a_lock_is_waited_for_no_longer_than_a_minute_by_default() -> None:
    assert 1 <= lock_waits.NOTICED < mlflow_store.LONGEST <= lock_waits.AGAIN <= 120


def test_a_deleted_experiment_names_its_cure_which_works(root: Path) -> None:
    uri = SETTINGS.absolute_uri(root)
    experiment = MlflowClient(uri).get_experiment_by_name("rounds").experiment_id
    MlflowClient(uri).delete_experiment(experiment)
    with pytest.raises(TrackingError, match="was deleted; restore it") as error, store_errors(uri):
        connect(SETTINGS, root)
    said = str(error.value)
    assert "tracking.experiment" in said
    address, *cure = shlex.split(said.split("(", 1)[1].split(")")[0])
    assert cure == ["mlflow", "experiments", "restore", "--experiment-id", experiment]
    variable, _, store = address.partition("=")
    assert CliRunner().invoke(cli, cure[1:], env={variable: store}, catch_exceptions=False).exit_code == 0
    assert connect(SETTINGS, root)[1] == experiment


def test_a_moved_project_keeps_old_and_new_artifacts_in_its_own_folder(root: Path, tmp_path: Path) -> None:
    client, experiment = connect(SETTINGS, root)
    old, lost = (client.create_run(experiment).info.run_id for _ in range(2))
    client.log_text(old, "before", "summary.txt")
    moved = tmp_path / "a moved project"
    shutil.copytree(root, moved)
    client, experiment = connect(SETTINGS, moved)
    new = client.create_run(experiment).info.run_id
    client.log_text(new, "after", "summary.txt")
    assert {path.parts[-3] for path in (moved / "artifacts").rglob("summary.txt")} == {old, new}
    assert not list((root / "artifacts").glob(new))
    shutil.rmtree(root / "artifacts")
    assert [item.path for item in client.list_artifacts(old)] == ["summary.txt"]
    assert str(root) in client.get_run(lost).info.artifact_uri  # nothing of it came along


def test_a_moved_project_is_looked_at_in_its_own_folder_before_its_next_run(root: Path, tmp_path: Path) -> None:
    client, experiment = connect(SETTINGS, root)
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "before", "summary.txt")
    moved = tmp_path / "moved"
    shutil.copytree(root, moved)
    shutil.rmtree(root / "artifacts")
    client, experiment = find_experiment(SETTINGS, moved)
    assert [item.path for item in client.list_artifacts(run)] == ["summary.txt"]


def test_an_experiment_that_projects_share_keeps_its_folder_and_says_so(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = SETTINGS.model_copy(update={"tracking_uri": f"sqlite:///{root}/mlflow.db", "experiment": "shared"})
    connect(shared, root)
    client, experiment = connect(shared, tmp_path)
    assert client.get_experiment(experiment).artifact_location == (root / "artifacts").as_uri()
    (line,) = [record.getMessage() for record in caplog.records if "Contact sheets" in record.getMessage()]
    assert f"not to {(tmp_path / 'artifacts').as_uri()}" in line
    assert "tracking.experiment" in line
