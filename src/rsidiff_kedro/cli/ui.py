"""Define the command `kedro rsi ui`, which opens MLflow and Kedro-Viz on what has been run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from kedro.framework.project import settings

from rsidiff_kedro.cli import viz
from rsidiff_kedro.cli.arguments import env_option, params_option
from rsidiff_kedro.cli.project import in_one_line
from rsidiff_kedro.core.untrusted.text import shown_address
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.hooks.mlflow_store import TrackingSettings, find_experiment, read_settings, store_errors, unwritable
from rsidiff_kedro.hooks.mlflow_view import KEY, TAG, save_view

HOST = "127.0.0.1"
PORT = click.IntRange(1, 65535)
TRAINING = {"workflowType": "machine_learning"}
"""MLflow opens its pages for language models otherwise."""
VIEW = {"viewStateShareKey": KEY, "compareRunsMode": "CHART"}


@click.command()
@env_option
@params_option
@click.option("--mlflow-port", default=5000, show_default=True, type=PORT)
@click.option("--viz-port", default=4141, show_default=True, type=PORT)
@in_one_line
def ui(env: str | None, params: dict[str, Any], mlflow_port: int, viz_port: int) -> None:
    """Open MLflow and Kedro-Viz on what has been run, and print where; Ctrl-C ends both."""
    root, loader = open_configuration(env, params)
    from rsidiff_kedro.parameters import parse_parameters

    parse_parameters(loader["parameters"]).within(root)  # or Kedro-Viz would end with a traceback
    settings = read_settings(loader["mlflow"])
    uri = settings.absolute_uri(root)
    served = shown_address(uri).replace("***@", "") if uri.startswith("http") else f"http://{HOST}:{mlflow_port}"
    commands = {viz_port: _viz(viz_port, env, params)}
    if not uri.startswith("http"):
        if mlflow_port == viz_port:
            raise click.UsageError(f"--mlflow-port and --viz-port are both {viz_port}; give two ports")
        commands[mlflow_port] = _mlflow(mlflow_port)
    for port in commands:
        _check_free(port)
    for line in links(settings, root, served):
        click.echo(line)
    click.echo(f"Kedro-Viz: http://{HOST}:{viz_port}/")
    what, them = ("Both answer", "them") if len(commands) > 1 else ("Kedro-Viz answers", "it")
    click.echo(f"{what} after some 20 seconds. Ctrl-C ends {them}.")
    _serve([*commands.values()], root, uri)


def links(settings: TrackingSettings, root: Path, served: str) -> list[str]:
    """Save a view of the experiment, and return lines with its address and that of the newest run.

    A store that is not there is made. Where it cannot be written, an earlier view is opened, or none.

    Raises:
        TrackingError: the store cannot be read, or the experiment was deleted.
    """
    uri = settings.absolute_uri(root)
    with store_errors(uri):
        client, experiment = find_experiment(settings, root)
        if experiment is None:
            return [f"MLflow: {served} (nothing is recorded in the experiment {settings.experiment} yet)"]
        page = f"{served}/#/experiments/{experiment}/runs"
        runs = client.search_runs([experiment], "tags.`kedro.run_id` != ''", max_results=1)
        if not runs:
            return [f"MLflow: {page}?{urlencode(TRAINING)}"]
        newest = f"MLflow, newest run: {page}/{runs[0].info.run_id}?{urlencode(TRAINING)}"
        place = unwritable(uri)
        if place is None:
            save_view(client, experiment, runs[0])
        elif TAG not in client.get_experiment(experiment).tags:
            line = f"MLflow, all runs: {page}?{urlencode(TRAINING)}"
            return [line, newest, f"{place} cannot be written, so MLflow opens without the view of rounds and curves."]
        return [f"MLflow, rounds of all runs: {page}?{urlencode(TRAINING | VIEW)}", newest]


def _mlflow(port: int) -> list[str]:
    return [sys.executable, "-m", "mlflow", "ui", "--host", HOST, "--port", str(port), "--workers", "1"]


def _viz(port: int, env: str | None, params: dict[str, Any]) -> list[str]:
    return [sys.executable, "-m", viz.__name__, json.dumps([HOST, port, env, params, settings.CONF_SOURCE])]


def _check_free(port: int) -> None:
    """Raise click.UsageError if something listens at the port already."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise click.UsageError(
                f"something answers at {HOST}:{port} already; end it, or choose --mlflow-port and --viz-port "
                "(make ui MLFLOW_PORT=… VIZ_PORT=…)"
            )


def _serve(commands: list[list[str]], root: Path, store: str) -> None:
    """Run servers until one ends, Ctrl-C or a signal to end; end them and what they started.

    MLflow gets its store by a variable, because all users of the machine see arguments, and it may hold a password.

    Raises:
        click.ClickException: one ended by itself.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())  # Python would leave the servers behind
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_BACKEND_STORE_URI": store}
    servers = [subprocess.Popen(each, cwd=root, env=environment, start_new_session=True) for each in commands]
    try:
        while all(server.poll() is None for server in servers):
            time.sleep(0.5)
        raise click.ClickException("a server ended by itself; see above what it said, and correct that")
    except KeyboardInterrupt:
        pass
    finally:
        for server in servers:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGTERM)
        for server in servers:
            server.wait()
