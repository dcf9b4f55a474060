"""Serve the page of votes to the browser of this machine's user, and to nobody else.

It listens on 127.0.0.1. Every address begins with a random token, which other users of the machine and other sites do
not know. A foreign `Host` is refused, so a site cannot point its own name here; so are a foreign `Origin` and any
content but JSON, so a site cannot vote for the user.
"""

import hmac
import json
import secrets
import sys
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from threading import Event, Lock
from typing import Any

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.labelling.session import Session, StaleError

HOST = "127.0.0.1"
MOST = 1000
"""Bytes of a request's content."""
PAGE = {
    "": ("page.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
}
"""Files of the page, with their types, by the end of their address."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class LabelServer(ThreadingHTTPServer):
    """The page of a session.

    Args:
        session: gets the votes.
        port: to listen at; 0 for any that is free.

    Attributes:
        finished: set when the user ends the session on the page.
    """

    daemon_threads = True
    allow_reuse_port = False

    def __init__(self, session: Session, port: int = 0) -> None:
        super().__init__((HOST, port), _Handler)
        self.session, self.token = session, secrets.token_urlsafe(24)
        self.lock, self.finished = Lock(), Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that closes the connection, as where its user leaves the page."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """Return the page's address, with the token."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    @cached_property
    def hosts(self) -> frozenset[str]:
        """Return the names under which the page may be asked for."""
        return frozenset(f"{name}:{self.server_port}" for name in (HOST, "localhost"))


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    timeout = 30

    def do_GET(self) -> None:
        """Answer with the page, its state or an image."""
        path = self._allowed()
        if path is None:
            return
        if path in PAGE:
            name, kind = PAGE[path]
            self._answer(HTTPStatus.OK, files(__package__).joinpath("page", name).read_bytes(), kind)
        elif path == "state":
            self._answer_state()
        else:
            self._answer_image(path)

    def do_POST(self) -> None:
        """Keep or take back a vote, or end the session; answer with the new state."""
        path = self._allowed()
        content = None if path is None else self._content()
        if path is None or content is None:
            return
        try:
            with self.server.lock:
                self._do(path, content)
        except StaleError:
            self._answer_state(HTTPStatus.CONFLICT)
        except InputError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"the vote was not kept: {error}")
        else:
            try:
                self._answer_state(finished=path == "finish")
            finally:  # the browser may have closed the connection
                if path == "finish":  # only now, because the process may end at once
                    self.server.finished.set()

    def _do(self, path: str, content: dict[str, Any]) -> None:
        session = self.server.session
        if path == "vote":
            number = content.get("number")
            session.vote(number if type(number) is int else -1, str(content.get("winner")))
        elif path == "undo":
            session.undo()
        elif path != "finish":
            raise InputError("there is no such address")

    def _allowed(self) -> str | None:
        """Return the address behind the token, or refuse the request."""
        _, token, path = [*self.path.split("/", 2), "", ""][:3]
        origin = self.headers.get("Origin")
        known = hmac.compare_digest(token.encode(), self.server.token.encode())
        own_origin = origin is None or origin.removeprefix("http://") in self.server.hosts
        if self.headers.get("Host") in self.server.hosts and own_origin and known:
            return path
        self._refuse(HTTPStatus.FORBIDDEN, "open the address that `kedro rsi label` printed")
        return None

    def _content(self) -> dict[str, Any] | None:
        """Return a request's JSON object, or refuse the request."""
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Content-Type") != "application/json" or not length.isdecimal() or int(length) > MOST:
            self._refuse(HTTPStatus.BAD_REQUEST, f"send JSON of at most {MOST} bytes")
            return None
        try:
            found = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self._refuse(HTTPStatus.BAD_REQUEST, "send a JSON object")
            return None
        return found

    def _answer_image(self, path: str) -> None:
        part, _, rest = path.partition("/")
        number, _, side = rest.partition("/")
        known = part == "image" and number.isdecimal() and len(number) < 10
        image = self.server.session.image(int(number), side) if known else None
        try:
            content = image.read_bytes() if image is not None else None
        except OSError:  # pruned meanwhile
            content = None
        if content is None:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such image")
        else:
            self._answer(HTTPStatus.OK, content, "image/png")

    def _answer_state(self, status: HTTPStatus = HTTPStatus.OK, finished: bool = False) -> None:
        content = self.server.session.state() | {"finished": finished or self.server.finished.is_set()}
        self._answer(status, json.dumps(content).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True
        self._answer(status, json.dumps({"error": reason}).encode(), "application/json")

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        """Name no versions."""
        return "rsidiff"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: addresses hold the token."""
