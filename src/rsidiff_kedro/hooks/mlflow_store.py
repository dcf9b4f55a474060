"""Connect to MLflow's store as conf/<env>/mlflow.yml says."""

import logging
import os
import re
import socket
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from pydantic import ConfigDict, ValidationError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.file_lock import held_by, take_lock
from rsidiff_kedro.core.files import share
from rsidiff_kedro.core.locations import check_home, expand
from rsidiff_kedro.core.section import Section
from rsidiff_kedro.core.untrusted.text import shown_address, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

logger = logging.getLogger(__name__)

_SQLITE = "sqlite:///"
ANSWERS = 20
"""Seconds that a server may take to say that it is there."""
LONGEST = 60.0
"""Seconds that another process may hold the store's lock."""


class TrackingError(InputError):
    """mlflow.yml is wrong, or the store that it names cannot be used."""


class TrackingSettings(Section):
    """The part `tracking` of conf/<env>/mlflow.yml.

    Attributes:
        enabled: off records nothing.
        experiment: name of the MLflow experiment, created when it is first used.
        tracking_uri: of the store; a relative sqlite path is taken from the project's root, `~` is the home folder.
        artifact_location: folder of contact sheets and reports, relative to the project's root; `~` is the home folder.
            A server ignores it.
    """

    model_config = ConfigDict(hide_input_in_errors=True)  # it may be a password

    enabled: bool = True
    experiment: str = "rsidiff_kedro"
    tracking_uri: str = "sqlite:///mlflow.db"
    artifact_location: str | None = None

    def absolute_uri(self, root: Path) -> str:
        """Return the store's address with an absolute sqlite path; MLFLOW_TRACKING_URI takes precedence.

        Raises:
            TrackingError: the project's folder, or the home folder, has a name that SQLite's address cannot hold.
        """
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self.tracking_uri
        if uri.startswith("~"):
            return str(expand(uri, root))
        if not uri.startswith(_SQLITE):
            return uri
        path = uri.removeprefix(_SQLITE)
        start = expand("~", root) if path.startswith("~") else root
        if not os.path.isabs(path) and re.search(r"[?#]|%[0-9A-Fa-f]{2}", str(start)):
            raise TrackingError(
                f"{start}: SQLite's address cannot hold ?, # or % before two digits; rename the folder, or set an "
                "absolute tracking_uri (sqlite:////folder/file) in mlflow.yml"
            )
        return f"{_SQLITE}{expand(path, root).as_posix()}"

    def absolute_artifacts(self, root: Path) -> str | None:
        """Return the artifacts' folder as a URI, or None where the store decides."""
        if self.artifact_location is None or not self.absolute_uri(root).startswith("sqlite"):
            return None
        if "://" in self.artifact_location:
            return self.artifact_location
        return expand(self.artifact_location, root).resolve().as_uri()


def read_settings(config: Mapping[str, Any]) -> TrackingSettings:
    """Validate the settings in mlflow.yml.

    Raises:
        TrackingError: a key is unknown, or a value has the wrong type.
    """
    try:
        return TrackingSettings.model_validate(config.get("tracking") or {})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(["tracking", *map(str, first["loc"])])
        raise TrackingError(
            f"mlflow.yml: {name} is {first['input']!r}: {first['msg']}; there are "
            f"{', '.join(TrackingSettings.model_fields)}"
        ) from None


def _check_store(uri: str) -> None:
    """Raise an error at once if SQLite cannot open the store or a server does not answer; MLflow tries for minutes.

    Raises:
        TrackingError: the address cannot be read.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request
    from sqlalchemy.engine import make_url

    path = _file_of(uri)
    if path is not None and path.exists():
        with closing(sqlite3.connect(path, timeout=10.0)) as store:
            store.execute("PRAGMA schema_version")
    is_database = uri.startswith(("postgres", "mysql", "mssql"))
    try:
        if is_database and "@" in (make_url(uri).host or ""):
            raise ValueError("a part of its password")
        address = urlsplit("" if is_database else uri)
        port = address.port or (443 if address.scheme == "https" else 80)
    except ValueError:
        raise TrackingError(
            f"the address of MLflow's store is {shown_address(uri)!r}, whose host or port cannot be read; correct "
            "tracking.tracking_uri in conf/<env>/mlflow.yml or MLFLOW_TRACKING_URI to http://host:port, with a port "
            "from 1 to 65535, or sqlite:///file; write a user's and a password's / ? # @ as %2F %3F %23 %40"
        ) from None  # the cause may show a part of its password
    if address.scheme in ("http", "https") and address.hostname:
        socket.create_connection((address.hostname, port), timeout=10).close()
        creds = get_default_host_creds(uri)
        http_request(creds, "/health", "GET", max_retries=0, timeout=ANSWERS, raise_on_status=False)


def unwritable(uri: str) -> Path | None:
    """Return the file of a SQLite store, its lock or its folder, whichever this user cannot write, or None."""
    path = _file_of(uri)
    if path is None:
        return None
    needed = (path, Path(f"{path}.lock"), path.parent)
    return next((each for each in needed if each.exists() and not os.access(each, os.W_OK)), None)


def check_writable_store(uri: str) -> None:
    """Check that SQLite can write the store; MLflow would show a statement of SQL.

    Raises:
        TrackingError: this user cannot write it.
    """
    place = unwritable(uri)
    if place is None:
        return
    try:
        owner = place.owner()
    except KeyError:  # a user that this machine does not know
        owner = f"the user {place.stat().st_uid}"
    raise TrackingError(
        f"{place}, which MLflow's store needs, belongs to {owner} and is not writable for you: `chmod g+w {place}` if "
        "you share a group, mount its disk for writing, name another store in tracking.tracking_uri in "
        "conf/<env>/mlflow.yml, or set tracking.enabled=false there"
    )


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Raise TrackingError, which says what to do, instead of what MLflow raises for a store that it cannot use."""
    import_mlflow()
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (ImportError, MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError) as error:
        reason = " ".join(str(error).replace(uri, shown_address(uri)).split())[:200]
        cure = "start the server"
        if isinstance(error, ImportError):
            cure = "install its driver (postgresql: `pip install 'psycopg[binary]'`, mysql: `pip install mysqlclient`)"
        raise TrackingError(
            f"MLflow's store {shown_address(uri)} cannot be used ({reason}); correct tracking.tracking_uri in "
            f"conf/<env>/mlflow.yml or MLFLOW_TRACKING_URI, {cure}, or set tracking.enabled: false"
        ) from None  # the cause may show the address with its password


def connect(settings: TrackingSettings, root: Path) -> tuple["MlflowClient", str]:
    """Return a client of the store and the id of the experiment, which is created when it is first used."""
    import_mlflow()
    from mlflow import MlflowClient

    uri = settings.absolute_uri(root)
    with _quiet("alembic", "mlflow"):
        check_writable_store(uri)
        _check_store(uri)
        with _one_at_a_time(uri):
            _make_store(uri)
            client = MlflowClient(uri)
            experiment = client.get_experiment_by_name(settings.experiment)
            if experiment is not None:
                _check_not_deleted(experiment, settings, root)
                _use_own_artifacts(experiment, settings, root)
                return client, str(experiment.experiment_id)
            location = settings.absolute_artifacts(root)
            return client, str(client.create_experiment(settings.experiment, artifact_location=location))


def find_experiment(settings: TrackingSettings, root: Path) -> tuple["MlflowClient", str | None]:
    """Return a client and the id of the experiment, without creating it; a new store is made as by `connect`.

    MLflow's server would make it otherwise, at the same time as a run and in its way.
    A project that was moved shows its own artifacts, as after `connect`, if its store can be written.

    Raises:
        TrackingError: the experiment was deleted.
    """
    import_mlflow()
    from mlflow import MlflowClient

    uri = settings.absolute_uri(root)
    path = _file_of(uri)
    with _quiet("alembic", "mlflow"):
        _check_store(uri)
        if path is not None and not path.exists():
            check_writable_store(uri)
            with _one_at_a_time(uri):
                _make_store(uri)
        elif path is not None:
            _check_not_half_made(path)
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name(settings.experiment)
    if experiment is None:
        return client, None
    _check_not_deleted(experiment, settings, root)
    if unwritable(uri) is None:
        _use_own_artifacts(experiment, settings, root)
    return client, str(experiment.experiment_id)


def _make_store(uri: str) -> None:
    """Make a SQLite store that does not exist: in a file beside its own, which gets its name when it is whole.

    Raises:
        TrackingError: MLflow itself was stopped while it made the store.
    """
    path = _file_of(uri)
    if path is None:
        return
    if os.path.lexists(path):
        return _check_not_half_made(path)
    from mlflow import MlflowClient
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
    from sqlalchemy import event

    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    engine = create_sqlalchemy_engine(f"{_SQLITE}{quote(str(partial))}")
    fast = "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF"  # to the disk once, at the end
    event.listen(engine, "connect", lambda connection, _: connection.executescript(fast))
    try:
        _initialize_tables(engine)
    finally:
        engine.dispose()
    share(partial)  # SQLite gives nobody else the right to write
    with partial.open("rb+") as whole:
        os.fsync(whole.fileno())
    for left in ("-journal", "-wal", "-shm"):  # of a store that was deleted: SQLite would put its pages into this one
        path.with_name(f"{path.name}{left}").unlink(missing_ok=True)
    os.replace(partial, path)
    MlflowClient(uri).search_experiments(max_results=1)  # which adds MLflow's first experiment, also one at a time


def _check_not_half_made(path: Path) -> None:
    """Raise TrackingError for a store that has some of MLflow's tables and no row; a whole one has an experiment."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    with closing(sqlite3.connect(path, timeout=10.0)) as store:
        found = store.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        names = {name for (name,) in found}
        others = names - {"alembic_version", "workspaces"}  # which MLflow fills before it has all tables
        filled = any(store.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() for name in others)
        if filled or not names & {"alembic_version", "experiments"}:
            return
        revisions = [*store.execute("SELECT * FROM alembic_version")] if "alembic_version" in names else []
    if revisions != [(_get_latest_schema_revision(),)]:
        raise TrackingError(
            f"{path} is half made: a process was stopped while it made MLflow's store, which holds no run yet; delete "
            "the file, unless another process is making it right now, and start again"
        )


def _file_of(uri: str) -> Path | None:
    """Return the file of a SQLite store as SQLAlchemy reads its address, or None for another store."""
    return Path(unquote(uri.removeprefix(_SQLITE).partition("?")[0])) if uri.startswith(_SQLITE) else None


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Keep out other runs: two that create the same new SQLite store at once would fail on each other's tables.

    Raises:
        TrackingError: another process holds the store's lock for a minute.
    """
    store = _file_of(uri)
    if store is None:
        yield
        return
    path = Path(f"{store}.lock")
    lock = take_lock(path, LONGEST)
    if lock is None:
        raise TrackingError(
            f"{path} has been held by {held_by(path)} for {LONGEST:.0f} seconds; end it, or set "
            "tracking.enabled=false in conf/<env>/mlflow.yml"
        )
    try:
        yield
    finally:
        lock.release()


def _check_not_deleted(experiment: "Experiment", settings: TrackingSettings, root: Path) -> None:
    """Raise TrackingError if an experiment was deleted."""
    if experiment.lifecycle_stage == "deleted":
        raise TrackingError(
            f"MLflow's experiment {settings.experiment!r} was deleted; restore it (MLFLOW_TRACKING_URI="
            f"{shown_address(settings.absolute_uri(root))} mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}), or name another in tracking.experiment in conf/<env>/mlflow.yml"
        )


def _use_own_artifacts(experiment: "Experiment", settings: TrackingSettings, root: Path) -> None:
    """Have a project that was moved or copied, and its store with it, use its own artifact folder.

    Only warn if the store lies elsewhere, because another project may use the experiment too.
    """
    wanted, old = settings.absolute_artifacts(root), experiment.artifact_location.rstrip("/")
    if wanted is None or old == wanted.rstrip("/"):
        return
    uri = settings.absolute_uri(root)
    path, shown = _file_of(uri), (without_credentials(old), without_credentials(wanted))
    if path is not None and not path.resolve().is_relative_to(root.resolve()):
        logger.warning(
            "Contact sheets and reports go to %s, and not to %s: an MLflow experiment keeps the place of its first "
            "run, and its store %s lies outside this project. Name another experiment in tracking.experiment in "
            "conf/<env>/mlflow.yml.",
            *shown,
            uri,
        )
        return
    _relocate(uri, str(experiment.experiment_id), old, wanted)
    logger.info("MLflow's artifacts, which the project had in %s before, go to %s from now on.", *shown)


def _relocate(uri: str, experiment_id: str, old: str, new: str) -> None:
    """Write an experiment's new artifact folder into its store, and that of its runs whose artifacts came along.

    MLflow has no function for it.
    """
    from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
    from sqlalchemy import create_engine
    from sqlalchemy.orm import Session

    engine = create_engine(uri)
    with Session(engine) as session, session.begin():
        session.get_one(SqlExperiment, int(experiment_id)).artifact_location = new
        for run in session.query(SqlRun).filter_by(experiment_id=int(experiment_id)):
            moved = f"{new}{run.artifact_uri.removeprefix(old)}"
            if run.artifact_uri.startswith(f"{old}/") and Path(unquote(urlsplit(moved).path)).is_dir():
                run.artifact_uri = moved
    engine.dispose()


def import_mlflow() -> None:
    """Import MLflow without its telemetry and without the warnings of its own use of SQLAlchemy.

    Raises:
        InputError: there is no home folder.
    """
    check_home("MLflow")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")  # seconds, tried eight times
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import mlflow  # noqa: F401


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Silence these loggers up to warnings, and deprecations; a new store reports every table otherwise."""
    levels = {each: each.level for each in map(logging.getLogger, names)}
    try:
        for each in levels:
            each.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for each, level in levels.items():
            each.setLevel(level)
