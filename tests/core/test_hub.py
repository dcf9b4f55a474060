"""The commit of a branch: what the hub says, and without it what the hub's cache says."""

import ast
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

import rsidiff_kedro
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import NoClientError, commit_of, hub_file, hub_folder, is_reachable, pinned
from rsidiff_kedro.diffusion.bases import find_index
from rsidiff_kedro.diffusion.footprint import fetch_configs
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.prompt_tokenizer import open_named_tokenizer, open_prompt_tokenizer
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.rewards.sources import fetch_if_any
from rsidiff_kedro.rewards.tokenizers import open_clip_tokenizer

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


WRONG = {
    "a SOCKS proxy": ("ALL_PROXY", "socks5://bob:s3cr@t@127.0.0.1:9", "socks5://***@127.0.0.1:9", "install socksio"),
    "a proxy without a port": ("HTTPS_PROXY", "bob:s3/cr@t@127.0.0.1:x", "***@127.0.0.1:x", "correct or unset"),
    "a certificate that is gone": ("SSL_CERT_FILE", "/gone/cacert.pem", "/gone/cacert.pem", "correct or unset"),
}


@pytest.fixture(params=WRONG.values(), ids=WRONG)
def wrong(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A variable with which no HTTP client can be made: how it is shown, and what to do."""
    name, value, shown, cure = request.param
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where it is not installed
    for each in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(each, raising=False)
        monkeypatch.delenv(each.lower(), raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"https://{tmp_path.name}.example")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    return f"{name}={shown!r}", cure


MODEL = ModelSettings(base="owner/name", device="cpu")
OPENERS: dict[str, Callable[[], object]] = {
    "an index": lambda: find_index("owner/name", None),
    "the configs": lambda: fetch_configs(MODEL),
    "a model": lambda: load_model(MODEL),
    "a tokenizer of a model": lambda: open_prompt_tokenizer("owner/name"),
    "a tokenizer": lambda: open_named_tokenizer("owner/name"),
    "a reward's file": lambda: fetch_if_any("owner/name", "config.json"),
    "a reward's tokenizer": lambda: open_clip_tokenizer("owner/name", 10),
}


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_what_is_not_kept_is_refused_with_the_variable_that_keeps_the_hub_away(
    wrong: tuple[str, str], opener: Callable[[], object]
) -> None:
    with pytest.raises((InputError, OSError)) as caught:
        opener()
    said = str(caught.value)
    assert all(each in said for each in wrong) and "s3" not in said and "cr@t" not in said


@pytest.mark.parametrize("offline", [False, True])
def test_what_is_kept_is_read_although_no_client_can_be_made(
    wrong: tuple[str, str],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    offline: bool,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    keep(cache, "models--owner--name", "main", FIRST)
    kept = cache / "models--owner--name" / "snapshots" / FIRST / "a.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("1")
    for revision in (None, "main", FIRST):
        assert (Path(hub_file("owner/name", "a.json", revision)), Path(hub_folder("owner/name", revision))) == (
            kept,
            kept.parent,
        )
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (0 if offline else 1) and all(wrong[0] in each and "s3" not in each for each in said)
    with pytest.raises(OSError) as caught:
        hub_file("owner/name", "b.json")
    assert isinstance(caught.value, NoClientError) != offline  # who sets HF_HUB_OFFLINE needs no client


def test_nothing_else_downloads() -> None:
    source = Path(rsidiff_kedro.__file__).parent
    found = set()
    for path in source.rglob("*.py"):
        for each in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in each.names] if isinstance(each, ast.ImportFrom) else []
            names += [each.attr] if isinstance(each, ast.Attribute) else []
            if {"hf_hub_download", "snapshot_download"} & {*names}:
                found.add(path.relative_to(source).as_posix())
    assert found == {"core/hub.py"}
