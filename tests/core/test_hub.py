"""The commit of a branch: what the hub says, and without it what the hub's cache says."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from rsidiff_kedro.core.hub import commit_of, is_reachable, pinned

FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and no hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    commit_of.cache_clear()
    yield tmp_path
    commit_of.cache_clear()


def keep(cache: Path, folder: str, revision: str, commit: str) -> None:
    path = cache / folder / "refs" / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(commit)


def test_offline_the_cache_knows_the_commit_of_each_kind_and_revision(cache: Path) -> None:
    keep(cache, "models--owner--name", "main", FIRST)
    keep(cache, "models--owner--name", "refs/pr/1", SECOND)
    keep(cache, "datasets--owner--name", "main", SECOND)
    assert commit_of("owner/name") == commit_of("owner/name", "main") == FIRST
    assert commit_of("owner/name", "refs/pr/1") == commit_of("owner/name", kind="dataset") == SECOND


def test_a_commit_is_itself_and_what_nobody_knows_stays_as_it_is(cache: Path) -> None:
    assert commit_of("owner/name", SECOND) == SECOND
    assert commit_of("owner/name", "v1") is None
    assert pinned("owner/name", "v1") == "v1"
    assert pinned("owner/name") is None
    keep(cache, "models--owner--name", "main", "no commit")
    commit_of.cache_clear()
    assert commit_of("owner/name") is None


def test_the_hub_is_asked_once_in_a_run_and_a_branch_that_moves_is_seen_by_the_next(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    branch, asked = {"sha": FIRST}, []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/api/models/"):  # once a day the library asks for something else
                asked.append(self.path)
            content = json.dumps({"id": "owner/name", **branch}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    keep(cache, "models--owner--name", "main", SECOND)
    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    assert [commit_of("owner/name"), commit_of("owner/name")] == [FIRST, FIRST]
    assert len(asked) == 1
    branch["sha"] = "c" * 40
    commit_of.cache_clear()
    assert commit_of("owner/name") == "c" * 40
    server.shutdown()
    server.server_close()
    commit_of.cache_clear()
    assert commit_of("owner/name") == SECOND  # out of reach, so the cache's


def test_a_hub_that_does_not_answer_is_asked_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert not is_reachable()
    assert huggingface_hub.is_offline_mode()
    assert pinned("owner/name", "v1") == "v1"
    assert [record.getMessage() for record in caplog.records] == [
        f"the model hub {address} does not answer (ConnectError): only what was downloaded before is used"
    ]
