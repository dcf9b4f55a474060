"""A model hub with one repository, owner/name, on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote

import huggingface_hub.constants
import huggingface_hub.file_download
import huggingface_hub.hf_api
import pytest
from huggingface_hub.utils import XetFileData

COMMIT = "c" * 40
_LARGE = (".safetensors", ".parquet", ".png", ".jpg")
"""What lies in Xet, as large files of the hub do: its client links the cache's file to a store of all repositories."""


@dataclass
class SmallHub:
    """What the hub holds, and what it was asked for.

    Attributes:
        commits: files of each commit, by name.
        branches: the commit of each branch and tag.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {COMMIT: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    asked: list[str] = field(default_factory=list)


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, object]]:
    """What lies in a folder: its files and folders, and with `recursive` those of the folders too."""
    before = f"{folder}/" if folder else ""
    found = {name: _entry(name, content) for name, content in files.items() if name.startswith(before)}
    for name in list(found):
        for above in [str(each) for each in PurePosixPath(name).parents][:-1]:
            if above.startswith(before):
                oid = hashlib.sha1(above.encode()).hexdigest()
                found[above] = {"type": "directory", "path": above, "size": 0, "oid": oid}
    return [entry for name, entry in found.items() if recursive or "/" not in name.removeprefix(before)]


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
    if not name.endswith(_LARGE):
        return entry
    stored = hashlib.sha256(content).hexdigest()
    return {**entry, "xetHash": stored, "lfs": {"oid": stored, "size": len(content), "pointerSize": 130}}


def _headers(name: str, content: bytes) -> dict[str, str]:
    if not name.endswith(_LARGE):
        return {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
    stored = hashlib.sha256(content).hexdigest()
    return {"ETag": f'"{stored}"', "X-Xet-Hash": stored, "X-Xet-Refresh-Route": "http://127.0.0.1/none"}


def _handler(hub: SmallHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.asked.append(self.path)
            before, verb, rest = "", "", ""
            for verb in ("/resolve/", "/tree/", "/paths-info/", "/revision/"):
                before, found, rest = self.path.partition("?")[0].partition(verb)
                if found:
                    break
            else:
                verb, rest = "/revision/", "main" if before.endswith("/owner/name") else ""
            revision, _, inside = rest.partition("/")
            commit = hub.branches.get(unquote(revision), revision)
            files = hub.commits.get(commit)
            if files is None or (verb == "/resolve/" and unquote(inside) not in files):
                self.answer(b"", {"X-Repo-Commit": commit, "X-Error-Code": "EntryNotFound"})
            elif verb == "/resolve/":
                content = files[unquote(inside)]
                self.answer(content, {"X-Repo-Commit": commit, **_headers(inside, content)})
            elif verb == "/revision/":
                siblings = [{"rfilename": name} for name in files]
                self.answer(json.dumps({"id": "owner/name", "sha": commit, "siblings": siblings}).encode(), {})
            elif verb == "/tree/":
                listed = _tree(files, unquote(inside), "recursive=true" in self.path.lower())
                missing = {} if listed else {"X-Repo-Commit": commit, "X-Error-Code": "EntryNotFound"}
                self.answer(json.dumps(listed).encode() if listed else b"", missing)
            else:
                asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).get("paths", [])
                every = {str(entry["path"]): entry for entry in _tree(files, "", recursive=True)}
                self.answer(json.dumps([every[name] for name in asked if name in every]).encode(), {})

        do_HEAD = do_POST = do_GET

        def answer(self, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(404 if "X-Error-Code" in headers else 200)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def small_hub(cache: Path, patch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """Serve a hub, which this process asks, with `cache` for the hub's cache."""
    hub = SmallHub()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        settings = {
            "ENDPOINT": address,
            "HUGGINGFACE_CO_URL_TEMPLATE": f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
            "HF_HUB_OFFLINE": False,
            "HF_HUB_CACHE": str(cache),
        }
        for name, value in settings.items():
            patch.setattr(huggingface_hub.constants, name, value)
        patch.setattr(huggingface_hub.hf_api.api, "endpoint", address)  # of the functions that diffusers imports

        def transfer(*, incomplete_path: Path, xet_file_data: XetFileData, **_: object) -> None:
            """Write what the hub holds, in place of Xet's own protocol."""
            contents = (content for files in hub.commits.values() for content in files.values())
            kept = {hashlib.sha256(content).hexdigest(): content for content in contents}
            Path(incomplete_path).write_bytes(kept[xet_file_data.file_hash])

        patch.setattr(huggingface_hub.file_download, "xet_get", transfer)
        yield hub
        server.shutdown()
