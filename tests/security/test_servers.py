"""The servers of `make ui` listen on this machine alone, and keep the protection that they have."""

import pytest

from rsidiff_kedro.cli import ui


@pytest.mark.parametrize("command", [ui._mlflow(5000, "sqlite:///mlflow.db"), ui._viz(4141, None, {"rounds": 2})])
def test_a_server_listens_on_this_machine_alone(command: list[str]) -> None:
    assert command[command.index("--host") + 1] == "127.0.0.1"
    weakening = {"--disable-security-middleware", "--allowed-hosts", "--cors-allowed-origins", "--x-frame-options"}
    assert not weakening & {*command}
