"""The page of votes answers the user alone: by token, host and origin; and takes JSON only."""

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.labelling.pairs import choose_pairs
from rsidiff_kedro.labelling.server import LabelServer
from rsidiff_kedro.labelling.session import Session, Source

Ask = Callable[..., http.client.HTTPResponse]
JSON = {"Content-Type": "application/json"}
LEFT = json.dumps({"number": 0, "winner": "left"})


@pytest.fixture
def server(scenes_on_disk: ImageSet, tmp_path: Path) -> Iterator[LabelServer]:
    session = Session(choose_pairs(scenes_on_disk, 0, 1), Source("run", 1), tmp_path / "1" / "votes")
    opened = LabelServer(session)
    threading.Thread(target=opened.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield opened
    opened.shutdown()
    opened.server_close()


@pytest.fixture
def ask(server: LabelServer) -> Ask:
    """`ask("GET", "state", token=…, body=…, **headers)`."""

    def ask(
        method: str, path: str, token: str | None = None, body: str | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"/{server.token if token is None else token}/{path}", body, given)
        return connection.getresponse()

    return ask


def test_a_browser_that_closes_with_the_session_ends_it(
    ask: Ask, server: LabelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(server.RequestHandlerClass, "_answer", gone)
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        ask("POST", "finish", body="{}", **JSON)
    assert server.finished.wait(5)


def test_a_browser_that_leaves_while_an_image_loads_is_not_reported(
    server: LabelServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended, close = threading.Event(), server.shutdown_request

    def answer(handler: Any, *_: object) -> None:
        while True:
            handler.wfile.write(bytes(1_000_000))

    def note_end(request: Any) -> None:
        close(request)
        ended.set()

    monkeypatch.setattr(server.RequestHandlerClass, "_answer", answer)
    monkeypatch.setattr(server, "shutdown_request", note_end)
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=10) as browser:
        browser.sendall(f"GET /{server.token}/ HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
        assert browser.recv(100)
    assert ended.wait(10)
    assert capfd.readouterr().err == ""


def test_it_listens_on_this_machine_alone(server: LabelServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert len(server.token) >= 32 and server.token in server.address


@pytest.mark.parametrize("token", ["", "x", "é", "../"])
@pytest.mark.parametrize("path", ["", "state", "page.js", "image/0/left"])
def test_a_wrong_token_gets_nothing(ask: Ask, server: LabelServer, token: str, path: str) -> None:
    from urllib.parse import quote

    answer = ask("GET", path, token=quote(token))
    assert answer.status == 403 and server.token not in answer.read().decode()
    assert ask("POST", "vote", token=quote(token), body=LEFT, **JSON).status == 403
    assert server.session.votes == 0


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_a_foreign_host_is_refused(ask: Ask, server: LabelServer, host: str) -> None:
    named = host.format(port=server.server_port)
    assert ask("GET", "state", Host=named).status == 403
    assert ask("POST", "vote", body=LEFT, Host=named, **JSON).status == 403
    assert ask("GET", "state", Host=f"localhost:{server.server_port}").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_a_foreign_origin_is_refused(ask: Ask, server: LabelServer, origin: str) -> None:
    named = origin.format(port=server.server_port)
    assert ask("POST", "vote", body=LEFT, Origin=named, **JSON).status == 403
    assert server.session.votes == 0


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (LEFT, {"Content-Type": "text/plain"}),
        (LEFT, {"Content-Type": "application/x-www-form-urlencoded"}),
        ("[]", JSON),
        ("{", JSON),
        ("[" * 900, JSON),
        ('{"number": 0, "winner": "both"}', JSON),
        (" " * 2000 + LEFT, JSON),
        (LEFT, {**JSON, "Content-Length": "-1"}),
    ],
)
def test_what_is_no_vote_is_refused(ask: Ask, server: LabelServer, body: str, headers: dict[str, str]) -> None:
    assert ask("POST", "vote", body=body, **headers).status == 400
    assert server.session.votes == 0


@pytest.mark.parametrize("number", ["true", "0.0", '"0"', "1", "-1", "null"])
def test_a_number_of_another_pair_changes_nothing(ask: Ask, server: LabelServer, number: str) -> None:
    assert ask("POST", "vote", body=f'{{"number": {number}, "winner": "left"}}', **JSON).status == 409
    assert server.session.votes == 0


@pytest.mark.parametrize(
    "path", ["image/1/left", "image/0/top", "image/-1/left", "image/0/left/..", "image/../../etc", "page.html", "nix"]
)
def test_only_the_page_and_images_that_were_shown_are_served(ask: Ask, path: str) -> None:
    assert ask("GET", path).status == 404


def test_a_get_changes_nothing(ask: Ask, server: LabelServer) -> None:
    for path in ("vote", "undo", "finish"):
        assert ask("GET", path).status == 404
    assert not server.finished.is_set()


def test_no_answer_may_be_framed_kept_or_read_as_another_type(ask: Ask) -> None:
    answer = ask("GET", "")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_token_is_not_logged(ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask("GET", "state").status == 200 and ask("GET", "nix").status == 404
    assert capfd.readouterr() == ("", "")


def test_the_port_can_be_had_again_at_once_but_not_twice(ask: Ask, server: LabelServer) -> None:
    assert ask("GET", "state").read()  # the server closes the connection first, so the kernel keeps it for a minute
    server.shutdown()
    server.server_close()
    again = LabelServer(server.session, server.server_port)
    with pytest.raises(OSError, match="Address already in use"):
        LabelServer(server.session, server.server_port)
    again.server_close()
