"""The servers of `make ui` listen on this machine alone, and keep the protection that they have."""

import json

from rsidiff_kedro.cli import ui


def test_kedro_viz_listens_on_this_machine_alone() -> None:
    assert json.loads(ui._viz(4141, None, {"rounds": 2})[-1])[0] == "127.0.0.1"


def test_mlflow_listens_on_this_machine_alone() -> None:
    command = ui._mlflow(5000, "sqlite:///mlflow.db")
    assert command[command.index("--host") + 1] == "127.0.0.1"
    weakening = {"--disable-security-middleware", "--allowed-hosts", "--cors-allowed-origins", "--x-frame-options"}
    assert not weakening & {*command}
