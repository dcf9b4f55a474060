"""Prompts of a language model, asked over HTTP from a small server that speaks the protocol."""

import errno
import json
import logging
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import ValidationError

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.prompt_table import PromptCountError
from rsidiff_kedro.prompts.sources.language_model import LanguageModelSource
from rsidiff_kedro.prompts.sources.source import PromptSourceError

KEY = "sk-very-secret-0123456789"


class Server(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, (status, content), and with numbered prompts when they end."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.keys, self.answers, self.tokens, self.whole = [], set(), [], 100, True
        self.body = None  # what is answered in place of all these

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.requests.append(body)
        server.keys.add(self.headers["Authorization"])
        number = len(server.requests)
        default = (200, json.dumps([f"prompt {number}.{item}" for item in range(4)]))
        status, content = server.answers.pop(0) if server.answers else default
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        usage = {"prompt_tokens": 0, "completion_tokens": server.tokens, "total_tokens": server.tokens}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "usage": usage}
        failure = {"error": {"message": content, "type": "server_error"}}
        raw = json.dumps(answer | {"choices": [choice]} if status == 200 else failure).encode()
        raw = (server.body or raw) if server.whole else raw[:30]
        self.send_response(status if self.path == "/v1/chat/completions" else 404)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", len(raw)), ("retry-after-ms", 1)):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def source(server, tmp_path):
    """`source(count=10)`: settings that ask the server."""

    def make(**settings):
        defaults = {
            "endpoint": server.endpoint,
            "model": "m",
            "count": 10,
            "prompts_per_request": 4,
            "topics": ["a", "b"],
        }
        return LanguageModelSource(**(defaults | {"cache": tmp_path / "cache"} | settings))

    return make


def test_prompts_come_in_the_order_of_their_requests_a_topic_at_a_time(server, source):
    table = source().collect(0)
    assert table["text"].tolist() == [f"prompt {number}.{item}" for number in (1, 2, 3) for item in range(4)][:10]
    assert table["category"].tolist() == list("aaaabbbbaa")
    assert [request["messages"][1]["content"][-2:] for request in server.requests] == ["a.", "b.", "a."]
    assert server.keys == {f"Bearer {KEY}"}


def test_a_second_run_asks_nothing_and_needs_neither_key_nor_server(server, source, monkeypatch):
    first = source().collect(0)
    asked = len(server.requests)
    monkeypatch.delenv("OPENAI_API_KEY")
    source().check(0)
    assert source().collect(0).equals(first)
    assert len(server.requests) == asked


def test_a_killed_run_goes_on_where_it_stopped(server, source):
    server.answers = [(200, '["one", "two"]'), (400, "no more today")]
    with pytest.raises(PromptSourceError, match="no more today"):
        source().collect(0)
    table = source().collect(0)
    assert table["text"].tolist()[:2] == ["one", "two"] and len(table) == 10
    assert len({json.dumps(request) for request in server.requests}) == len(server.requests) - 1


def test_another_seed_asks_anew(server, source):
    source().collect(0)
    asked = len(server.requests)
    source().collect(1)
    assert len(server.requests) == 2 * asked


def test_a_busy_and_a_broken_server_are_asked_again(server, source):
    server.answers = [(429, "slow down"), (500, "oops"), (200, '["one", "two"]')]
    assert source(count=2).collect(0)["text"].tolist() == ["one", "two"]
    assert len(server.requests) == 3


def test_a_server_that_stays_broken_ends_in_one_line(server, source):
    server.answers = [(503, "down for repair")] * 3
    with pytest.raises(PromptSourceError, match=r"gave no reply: .*down for repair.*more than 2 retries; .*are kept"):
        source(retries=2).collect(0)
    assert len(server.requests) == 3


def test_the_key_stands_in_no_log_no_message_and_no_file(server, source, tmp_path, caplog):
    server.answers = [(200, '["one", "two"]'), (401, f"the key {KEY} is no good")]
    with caplog.at_level(logging.DEBUG), pytest.raises(PromptSourceError, match=r"the key .* is no good") as caught:
        source().collect(0)
    kept = [path.read_text() for path in (tmp_path / "cache").iterdir()]
    assert len(kept) == 1 and len(caplog.records) > 1
    for text in (str(caught.value), caplog.text, *kept, source().model_dump_json()):
        assert KEY not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('["one", "tw', "1 x a reply that ends within its JSON"),
        ("1. a fox", "1 x a reply that is not JSON"),
        ('"a fox"', "1 x a reply that is not a list of prompts"),
        ("[]", "1 x a reply that is not a list of prompts"),
        ('["one", 2, "", null]', "3 x an entry that is not text"),
        ('["one", "ONE"]', "1 x said before"),
        ("[" * 100_000, "1 x a reply that is not JSON"),
        ('["one \\ud800"]', "1 x a reply that is not JSON"),
        (None, "1 x an empty reply"),
        (" \n", "1 x an empty reply"),
    ],
)
def test_what_is_no_prompt_is_counted_with_its_reason(server, source, caplog, content, reason):
    server.answers = [(200, content)]
    with caplog.at_level(logging.WARNING, "rsidiff_kedro"):
        table = source(count=5).collect(0)
    assert len(table) == 5 and table["prompt_id"].is_unique
    assert f"m: not used: {reason}" in caplog.text


@pytest.mark.parametrize("content", ['```json\n["one"]\n```', '{"prompts": ["one"]}', ' ["one"] '])
def test_a_list_may_be_wrapped(server, source, content):
    server.answers = [(200, content)]
    assert source(count=1).collect(0)["text"].tolist() == ["one"]


def test_a_model_that_repeats_itself_is_not_asked_for_ever(server, source):
    server.answers = [(200, '["one", "two"]')] * 99
    with pytest.raises(PromptCountError, match=r"m gave 2 of 10 prompts .* 5 replies brought nothing new .*10 x said"):
        source().collect(0)
    assert len(server.requests) == 6


def test_empty_replies_are_kept_and_asked_for_again_when_deleted(server, source, tmp_path):
    server.answers = [(200, "")] * 5
    for _ in range(2):  # the second time without a request: these may be paid for, as what a model only thinks is
        with pytest.raises(PromptCountError, match=rf"5 x an empty reply\).* in {tmp_path}/cache: delete the newest"):
            source().collect(0)
    assert len(server.requests) == 5
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    assert len(source().collect(0)) == 10


def test_the_limit_of_tokens_is_never_passed(server, source):
    server.tokens = 900
    with pytest.raises(PromptCountError, match=r"m gave 8 of 10 prompts for 1800 tokens, and total_tokens is 3000"):
        source(max_tokens=1000, total_tokens=3000).collect(0)
    assert len(server.requests) == 2


def test_what_the_endpoint_does_not_count_is_taken_at_its_most(server, source):
    server.tokens = None
    with pytest.raises(PromptCountError, match="m gave 4 of 10"):
        source(max_tokens=1000, total_tokens=2500).collect(0)


def test_a_server_of_another_kind_is_told(server, source):
    with pytest.raises(PromptSourceError, match="check the key, the endpoint and the model's name"):
        source(endpoint=server.endpoint.replace("/v1", "/v2"), retries=0).collect(0)


def test_a_body_that_is_no_json_is_told(server, source):
    server.whole = False
    with pytest.raises(PromptSourceError, match="the whole: Invalid JSON: "):
        source(retries=0).collect(0)


def answer(message, **usage):
    """Return the body of an answer with this message and usage."""
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}).encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "choices: Field required"),
        (b"[]", "the whole: "),
        (b'{"choices": []}', "choices: "),
        (b'{"choices": {}}', "choices: "),
        (b'{"choices": "x"}', "choices: "),
        (b'{"choices": [{}]}', "choices.0.message: Field required"),
        (b'{"choices": [{"finish_reason": "stop", "text": "a fox"}]}', "choices.0.message: Field required"),
        (answer(None), "choices.0.message: "),
        (answer({"content": ["a fox"]}), "choices.0.message.content: "),
        (answer({"content": 3}), "choices.0.message.content: "),
        (answer({"content": '["a fox"]'}, total_tokens="many"), "usage.total_tokens: "),
        (answer({"content": '["a fox"]'}, total_tokens=-5), "usage.total_tokens: "),
        (b'{"choices": ' + b"[" * 100_000, "the whole: Invalid JSON: recursion limit exceeded"),
        (answer({"content": '["a \ud800 fox"]'}), "the whole: Invalid JSON: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_answer_of_another_shape_is_told_and_not_kept(server, source, tmp_path, body, said):
    server.body = body
    with pytest.raises(PromptSourceError) as caught:
        source(retries=0).collect(0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert not (tmp_path / "cache").exists()


def test_a_server_that_is_not_there_is_told(source):
    with pytest.raises(PromptSourceError, match=r"http://127\.0\.0\.1:9/v1 gave no reply: APIConnectionError"):
        source(endpoint="http://127.0.0.1:9/v1", retries=0).collect(0)


def test_a_missing_key_is_told_before_anything_is_asked(server, source, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(PromptSourceError, match=r"'OPENAI_API_KEY' with the key of .* is not set"):
        source().check(0)
    source(api_key_variable=None).check(0)
    assert server.requests == []


def test_a_missing_package_is_told_before_anything_is_asked(server, source, monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)  # as where it is not installed
    with pytest.raises(PromptSourceError, match="pip install openai"):
        source().check(0)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("ALL_PROXY", "socks5://bob:s3cr@t@127.0.0.1:9", "socks5://***@127.0.0.1:9"),
        ("HTTPS_PROXY", "http://bob:s3/cr@t@127.0.0.1:9", "http://***@127.0.0.1:9"),
        ("SSL_CERT_FILE", "/gone/cacert.pem", "/gone/cacert.pem"),
    ],
)
@pytest.mark.parametrize("attempt", ["check", "collect"])
def test_settings_of_the_network_that_cannot_be_used_are_named(
    server, source, monkeypatch, name, value, shown, attempt
):
    monkeypatch.setitem(sys.modules, "socksio", None)  # as where it is not installed
    monkeypatch.setenv(name, value)
    with pytest.raises(PromptSourceError, match="no HTTP client can be made") as caught:
        getattr(source(), attempt)(0)
    assert f"{name}={shown!r}" in str(caught.value)
    assert ("install socksio" in str(caught.value)) == (name == "ALL_PROXY")
    assert "s3" not in str(caught.value) and "cr@t" not in str(caught.value) and server.requests == []


@pytest.mark.parametrize(
    "content", ["{", "[]", "[" * 100_000, '{"reply": {"content": ["a fox"], "finish_reason": "stop", "tokens": -1}}']
)
def test_a_damaged_reply_in_the_cache_is_told(server, source, tmp_path, content):
    source().collect(0)
    path = sorted((tmp_path / "cache").iterdir())[0]
    path.write_text(content)
    with pytest.raises(PromptSourceError, match=r"is not a kept reply .*; delete it to ask again"):
        source().collect(0)


def test_a_cache_that_can_be_no_folder_is_told_before_anything_is_asked(server, source, tmp_path):
    with pytest.raises(PromptSourceError, match="or set another cache"):
        source(cache="a" * 5000).within(tmp_path).check(0)
    assert source(cache="~no_such_user/a").within(tmp_path).cache == tmp_path / "~no_such_user/a"
    assert server.requests == []


def test_a_cache_that_cannot_be_written_is_told_before_anything_is_asked(server, source, monkeypatch):
    def refuse(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # tests may run as root, who may write everywhere
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\)"):
        source().check(0)
    monkeypatch.undo()
    assert server.requests == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"endpoint": "localhost:8000"}, "give an address such as"),
        ({"endpoint": "http://localhost:abc/v1"}, "give an address such as"),
        ({"endpoint": "http://localhost:70000/v1"}, "give an address such as"),
        ({"endpoint": "https://me:secret@host/v1"}, "put the key into the environment variable"),
        ({"total_tokens": 100}, "less than one request may take"),
        ({"temperature": float("nan")}, "temperature"),
        ({"timeout": float("inf")}, "finite number"),
        ({"count": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(source, wrong, said):
    with pytest.raises(ValidationError, match=said):
        source(**wrong)


def test_openais_own_endpoint_gets_the_limit_under_its_newer_name():
    bodies = [
        LanguageModelSource(endpoint=f"https://{host}/v1", model="m", count=1)._body(0, 0)
        for host in ("api.openai.com", "localhost")
    ]
    assert bodies[0]["max_completion_tokens"] == bodies[1]["max_tokens"] == 2000
    assert "max_tokens" not in bodies[0]
