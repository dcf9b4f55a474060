"""The commit of a branch: what the hub says, and without it what the hub's cache says."""

import ast
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub import HfApi, ModelInfo
from small_hub import SmallHub, small_hub

import rsidiff_kedro
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.hub import NotKeptError, commit_of, hub_file, hub_folder, is_reachable, pinned
from rsidiff_kedro.diffusion.bases import find_index
from rsidiff_kedro.diffusion.footprint import fetch_configs
from rsidiff_kedro.diffusion.opening import load_model
from rsidiff_kedro.diffusion.prompt_tokenizer import open_named_tokenizer, open_prompt_tokenizer
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.rewards.sources import fetch, fetch_if_any
from rsidiff_kedro.rewards.tokenizers import open_clip_tokenizer
from rsidiff_kedro.scenes import BASE_FOLDER

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


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A hub that holds the shipped model in two commits, the first of which is its main branch."""
    with small_hub(cache, monkeypatch) as served:
        files = {path.relative_to(BASE_FOLDER).as_posix(): path.read_bytes() for path in BASE_FOLDER.rglob("*.*")}
        served.commits = {FIRST: files, SECOND: files}
        served.branches = {"main": FIRST}
        yield served


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_HUB_OFFLINE does for a new process."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    commit_of.cache_clear()


def test_of_a_hub_that_names_no_commit_the_cache_is_read(
    cache: Path, hub: SmallHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep(cache, "models--owner--name", "main", SECOND)
    monkeypatch.setattr(HfApi, "repo_info", lambda *_, **options: ModelInfo(id="owner/name", sha=None))
    assert commit_of("owner/name") == SECOND
    assert f"(it named None): {SECOND} is read, as the hub's cache says" in caplog.text


def test_the_hub_is_asked_once_in_a_run_and_a_branch_that_moves_is_seen_by_the_next(
    cache: Path, hub: SmallHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keep(cache, "models--owner--name", "main", SECOND)
    assert [commit_of("owner/name"), commit_of("owner/name")] == [FIRST, FIRST]
    # Once a day the library asks for something else.
    assert len([path for path in hub.asked if path.startswith("/api/models/")]) == 1
    hub.branches["main"] = "c" * 40
    hub.commits["c" * 40] = {}
    commit_of.cache_clear()
    assert commit_of("owner/name") == "c" * 40
    hub.commits.clear()
    commit_of.cache_clear()
    assert caplog.messages == []
    assert commit_of("owner/name") == SECOND  # the hub does not say, so the cache's
    said = f"did not say which commit 'main' of owner/name is (RemoteEntryNotFoundError): {SECOND} is read, as"
    assert len(caplog.messages) == 1 and said in caplog.messages[0]


READERS: dict[str, Callable[[], object]] = {
    "an index": lambda: find_index("owner/name", None),
    "the configs": lambda: fetch_configs(MODEL),
    "a model": lambda: load_model(MODEL),
    "a tokenizer of a model": lambda: open_prompt_tokenizer("owner/name"),
    "a reward's file": lambda: fetch("owner/name", "vae/config.json"),
    "a file if there is one": lambda: fetch_if_any("owner/name", "unet/config.json"),
    "a folder": lambda: hub_folder("owner/name", patterns=["tokenizer/*"]),
}


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_what_a_run_has_read_of_a_branch_is_read_without_the_hub(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch, reader: Callable[[], object], older: bool
) -> None:
    """Also if the cache named an older commit before."""
    if older:
        huggingface_hub.snapshot_download("owner/name")
    hub.branches["main"] = SECOND
    read = reader()
    go_offline(monkeypatch)
    assert commit_of("owner/name") == SECOND
    again = reader()
    if isinstance(read, str | Path):
        assert read == again and SECOND in Path(read).parts


@pytest.mark.parametrize("kind", ["model", "dataset"])
@pytest.mark.parametrize("revision", ["main", "v1", "refs/pr/1", SECOND])
def test_without_the_hub_each_kind_and_revision_is_the_commit_that_was_read(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch, kind: str, revision: str
) -> None:
    hub.branches |= {"v1": SECOND, "refs/pr/1": SECOND, "main": SECOND}
    read = hub_file("owner/name", "model_index.json", revision, kind)
    go_offline(monkeypatch)
    assert commit_of("owner/name", revision, kind) == SECOND
    assert hub_file("owner/name", "model_index.json", revision, kind) == read


def test_a_commit_of_which_nothing_is_there_has_no_name(
    cache: Path, hub: SmallHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what the earlier name leads to stays readable."""
    read = hub_file("owner/name", "model_index.json")
    hub.branches["main"] = SECOND
    commit_of.cache_clear()
    assert commit_of("owner/name") == SECOND
    hub_file("owner/name", "model_index.json", dry_run=True)
    with pytest.raises(OSError, match="404"):
        hub_file("owner/name", "none.json")
    go_offline(monkeypatch)
    assert hub_file("owner/name", "model_index.json") == read and FIRST in read
    assert [path.name for path in (cache / "models--owner--name" / "refs").iterdir()] == ["main"]


def test_a_process_that_reads_an_older_commit_takes_no_newer_name_away(cache: Path, hub: SmallHub) -> None:
    hub_file("owner/name", "model_index.json")
    keep(cache, "models--owner--name", "main", SECOND)  # by another process, after the branch has moved
    assert FIRST in hub_file("owner/name", "vae/config.json")
    assert (cache / "models--owner--name/refs/main").read_text() == SECOND


def test_a_cache_that_cannot_be_written_is_read(cache: Path, hub: SmallHub, caplog: pytest.LogCaptureFixture) -> None:
    kept = hub_file("owner/name", "model_index.json", FIRST)
    (cache / "models--owner--name" / "refs").write_text("in the way")
    assert [hub_file("owner/name", "model_index.json") for _ in range(2)] == [kept, kept]
    (said,) = caplog.messages
    assert "refs/main cannot be written (" in said and "without the network, 'main' of owner/name is not found" in said


@pytest.mark.parametrize("named", [False, True])
def test_without_the_hub_a_commit_that_is_not_there_is_refused_with_those_that_are(
    cache: Path, hub: SmallHub, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    hub_file("owner/name", "model_index.json", FIRST)
    if named:
        keep(cache, "models--owner--name", "main", SECOND)
    go_offline(monkeypatch)
    for reader in ("an index", "a model", "a reward's file", "a tokenizer of a model"):
        with pytest.raises((InputError, OSError)) as caught:
            READERS[reader]()
        said = f"lacks it at the commit {SECOND}, which is 'main'" if named else "does not say which commit 'main' is"
        assert f"the hub's cache {said}, and has files of {FIRST}; run once with the network, or" in str(caught.value)


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
    assert isinstance(caught.value, NotKeptError) != offline  # who sets HF_HUB_OFFLINE needs no client


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
