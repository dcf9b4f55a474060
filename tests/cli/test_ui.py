"""`kedro rsi ui`: the addresses that it prints, and what it refuses."""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import click
import pytest
from click.testing import CliRunner, Result
from kedro.framework.project import configure_project, settings
from sqlalchemy.exc import OperationalError

from rsidiff_kedro.cli import cli, ui, viz
from rsidiff_kedro.cli.project import PACKAGE, read_conf_of
from rsidiff_kedro.hooks.mlflow_store import TrackingError, TrackingSettings, connect
from rsidiff_kedro.hooks.mlflow_view import view_of


@pytest.fixture(autouse=True)
def no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_links_open_the_experiment_of_the_environment_with_rounds_unfolded(tmp_path: Path) -> None:
    settings = TrackingSettings(experiment="other")
    (line,) = ui.links(settings, tmp_path, "http://127.0.0.1:5001")
    assert "nothing is recorded in the experiment other yet" in line
    assert (tmp_path / "mlflow.db").exists()  # or MLflow's server would make it, in the way of a first run
    client, experiment = connect(settings, tmp_path)
    older, newest = (client.create_run(experiment, start_time=n, tags={"kedro.run_id": "r"}) for n in (1, 2))
    client.create_run(experiment, start_time=3, tags={"mlflow.parentRunId": newest.info.run_id})
    rounds, run = ui.links(settings, tmp_path, "http://127.0.0.1:5001")
    place = urlsplit(urlsplit(rounds.split(": ", 1)[1]).fragment)
    assert place.path == f"/experiments/{experiment}/runs"
    query = parse_qs(place.query)
    assert query["workflowType"] == ["machine_learning"]
    assert query["compareRunsMode"] == ["CHART"]
    view = json.loads(client.get_experiment(experiment).tags[f"mlflow.sharedViewState.{query['viewStateShareKey'][0]}"])
    assert view["orderByKey"] == "attributes.end_time"
    assert f"http://127.0.0.1:5001/#/experiments/{experiment}/runs/{newest.info.run_id}?" in run
    assert older.info.run_id not in run
    client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match="was deleted; restore it"):
        ui.links(settings, tmp_path, "http://127.0.0.1:5001")


def test_a_store_that_cannot_be_written_is_opened_without_a_new_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, experiment = connect(TrackingSettings(), tmp_path)
    client.create_run(experiment, tags={"kedro.run_id": "r"})

    def refuse(*_: object) -> None:
        raise OperationalError("attempt to write a readonly database", None, Exception())

    with monkeypatch.context() as sealed:
        sealed.setattr("mlflow.MlflowClient.set_experiment_tag", refuse)
        sealed.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "mlflow.db")
        all_runs, newest, said = ui.links(TrackingSettings(), tmp_path, "http://127.0.0.1:5001")
        assert "/#/experiments/" in all_runs and "viewStateShareKey" not in all_runs and "newest run: http" in newest
        assert said.startswith(f"{tmp_path / 'mlflow.db'} cannot be written, so MLflow opens without the view")
    ui.links(TrackingSettings(), tmp_path, "http://127.0.0.1:5001")  # which saves the view
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    rounds, _ = ui.links(TrackingSettings(), tmp_path, "http://127.0.0.1:5001")
    assert "viewStateShareKey" in rounds


def test_kedro_viz_opens_with_boxes_alone_unless_its_address_says_more() -> None:
    page = viz.index_page()
    script = page.partition("<head>")[2].partition("</script>")[0]
    assert 'if (!location.search) history.replaceState(null, "", "?types=nodes")' in script
    assert "report.html" not in page and "report.html" in viz.index_page(report=True)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as server:
        server.bind((ui.HOST, 0))
        server.listen()
        port = server.getsockname()[1]
        with pytest.raises(click.UsageError, match=f"127.0.0.1:{port} already"):
            ui._check_free(port)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Keep the commands of servers that would be started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(ui, "_serve", lambda given, root, store: commands.extend(given))
    monkeypatch.setattr(ui, "_check_free", lambda port: None)
    return commands


def opened(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["rsi", "ui", "--env=test", *arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mlflow-port=4141",), "--mlflow-port and --viz-port are both 4141; give two ports"),
        (("--viz-port=99999",), "99999 is not in the range 1<=x<=65535"),
        (("--mlflow-port=0",), "0 is not in the range 1<=x<=65535"),
        (("--params=finetune.learning_rat=0.001",), "'finetune.learning_rat'"),
    ],
)
def test_ports_and_parameters_that_cannot_be_are_refused_before_an_address_is_shown(
    project: Path, served: list[list[str]], arguments: tuple[str, ...], said: str
) -> None:
    result = opened(*arguments)
    assert result.exit_code in (1, 2) and said in result.output and not served and "http" not in result.output


def test_only_what_is_started_is_said_to_answer(
    project: Path, served: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "find_experiment", lambda settings, root: (None, None))
    assert "Both answer after some 20 seconds" in opened().output and len(served) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:secret@somewhere:5000")
    served.clear()
    said = opened("--mlflow-port=4141").output
    assert "MLflow: http://somewhere:5000 (nothing" in said and "Kedro-Viz answers after some 20 seconds" in said
    assert len(served) == 1 and json.loads(served[0][-1]) == [ui.HOST, 4141, "test", {}, "conf"]
    served.clear()
    opened("--conf-source=conf")
    assert json.loads(served[0][-1])[-1] == str(project.resolve() / "conf")


@pytest.mark.parametrize("are_imported", [True, False])
def test_kedro_viz_reads_the_settings_again_and_keeps_the_folder_of_configuration(
    monkeypatch: pytest.MonkeyPatch, are_imported: bool
) -> None:
    if not are_imported:  # as in the process that serves it
        monkeypatch.delitem(sys.modules, f"{PACKAGE}.settings")
    try:
        read_conf_of("elsewhere")
        configure_project(PACKAGE)
        assert settings.CONF_SOURCE == "elsewhere"
    finally:
        read_conf_of("conf")


def test_a_server_that_ends_ends_the_others_and_the_command_with_an_error(tmp_path: Path) -> None:
    note = tmp_path / "note"
    commands = [["sh", "-c", f'echo "$$ $MLFLOW_BACKEND_STORE_URI" > "{note}"; exec sleep 600'], ["sleep", "0.2"]]
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with pytest.raises(click.ClickException, match="a server ended by itself; see above"):
            ui._serve(commands, tmp_path, "postgresql://bob:secret@db/mlflow")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    process, store = note.read_text().split()
    assert store == "postgresql://bob:secret@db/mlflow"
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://localhost:abc", "whose host or port cannot be read"),
        ("postgresql://bob:secret@127.0.0.1:1/db", "postgresql://***@127.0.0.1:1/db cannot be used (import of psycopg"),
        ("mysql://bob:secret@127.0.0.1:1/db", "install its driver (postgresql: `pip install 'psycopg[binary]'`, mysql"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_in_one_line(
    project: Path, served: list[list[str]], monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    for driver in ("psycopg", "psycopg2", "MySQLdb"):
        monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    result = opened()
    assert result.exit_code == 1 and result.output.startswith("Error: ") and len(result.output.splitlines()) == 1
    assert said in result.output and "secret" not in result.output and not served


def test_the_view_shows_what_was_measured_and_one_grid_of_all_images() -> None:
    nan = float("nan")
    metrics = {"test/prompt_accuracy": nan, "test/diversity": 0.5, "test/reward/hps": 0.2, "test/reward/hps_low": 0.1}
    *curves, images = view_of({**metrics, "gate/accepted": 1.0}, ["01 a", "02 b"])["compareRunCharts"]
    assert [chart["metricKey"] for chart in curves] == ["test/diversity", "test/reward/hps"]
    assert images["imageKeys"] == ["01 a", "02 b"]
    assert {chart["lineSmoothness"] for chart in curves} == {0}
