"""The servers of `make ui` listen on this machine alone, and keep the protection that they have."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from rsidiff_kedro.cli import ui, viz


def test_kedro_viz_listens_on_this_machine_alone() -> None:
    assert json.loads(ui._viz(4141, None, {"rounds": 2})[-1])[0] == "127.0.0.1"


def test_mlflow_listens_on_this_machine_alone() -> None:
    command = ui._mlflow(5000)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    weakening = {"--disable-security-middleware", "--allowed-hosts", "--cors-allowed-origins", "--x-frame-options"}
    assert not weakening & {*command}


@pytest.mark.parametrize("path", ["/", "/api/version"])
@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:4141", 200), ("localhost:8000", 200), ("evil.example:4141", 400)]
)
def test_kedro_viz_answers_no_site_whose_name_leads_here(tmp_path: Path, path: str, host: str, status: int) -> None:
    client = TestClient(viz.pages(tmp_path, ui.HOST), base_url=f"http://{host}")
    assert client.get(path).status_code == status
