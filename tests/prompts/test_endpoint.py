"""Endpoints that are slow, endless or of another kind, as real servers on a socket; and how replies are read."""

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from email.utils import formatdate

import openai
import pytest

from rsidiff_kedro.core.prompt_table import PromptCountError
from rsidiff_kedro.prompts.sources import endpoint as endpoints
from rsidiff_kedro.prompts.sources.chat import Reply, is_openai, parse_reply
from rsidiff_kedro.prompts.sources.language_model import LanguageModelSource
from rsidiff_kedro.prompts.sources.source import PromptSourceError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
PROMPTS = [
    f"a {color} {animal} beside a wall" for color in ("red", "blue", "green") for animal in ("fox", "owl", "hare")
]


def answer(content, **usage):
    """Return the body of an answer with this content and usage."""
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


def framed(body, status="200 OK", headers=b""):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode() + headers + b"\r\n" + body


class Endpoint:
    """A server that hands each connection, with the JSON of its request, to `serve(connection, request)`."""

    def __init__(self, serve):
        self.socket, self.serve, self.requests = socket.create_server(("127.0.0.1", 0)), serve, []
        self.heads = []
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/v1"

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                try:
                    head, _, body = self._head(connection)
                    length = int(next(line for line in head.lower().split(b"\r\n") if b"length" in line).split(b":")[1])
                    while len(body) < length:
                        body += connection.recv(65536)
                    self.requests.append(json.loads(body))
                    self.heads.append(head.decode())
                    self.serve(connection, self.requests[-1])
                except (OSError, StopIteration, ValueError):
                    pass

    def _head(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                raise OSError("closed")
            data += part
        return data.partition(b"\r\n\r\n")

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def serve():
    """`serve(function)`: start an `Endpoint`."""
    started = []

    def start(function):
        started.append(Endpoint(function))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def source(tmp_path):
    """`source(endpoint)`: settings that ask it."""

    def make(endpoint, **settings):
        defaults = {"model": "m", "count": 9, "prompts_per_request": 9, "api_key_variable": None, "retries": 0}
        return LanguageModelSource(**(defaults | {"endpoint": endpoint.address, "cache": tmp_path / "c"} | settings))

    return make


def trickle(connection, data, pause=0.02):
    for position in range(len(data)):
        connection.sendall(data[position : position + 1])
        time.sleep(pause)


def trickled_head(connection, request):
    trickle(connection, b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 500)


def trickled_body(connection, request):
    connection.sendall(HEAD + b"Content-Length: 500\r\n\r\n")
    trickle(connection, b" " * 500)


def trickled_chunks(connection, request):
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\n \r\n")
        time.sleep(0.02)


def trickled_error(connection, request):
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 500\r\n\r\n")
    trickle(connection, b" " * 500)


def silence(connection, request):
    connection.recv(1)


@pytest.mark.parametrize("function", [trickled_head, trickled_body, trickled_chunks, trickled_error, silence])
def test_a_reply_that_does_not_end_is_given_up_after_the_timeout(serve, source, function):
    endpoint, start = serve(function), time.monotonic()
    with pytest.raises(PromptSourceError, match=r"no whole reply within 0\.3 seconds; raise timeout") as caught:
        source(endpoint, timeout=0.3, retries=5).collect(0)
    assert time.monotonic() - start < 3
    assert len(endpoint.requests) == 1  # a reply is paid for, even one that is too slow
    assert "\n" not in str(caught.value)


def endless(connection, request):
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def endless_error(connection, request):
    connection.sendall(b"HTTP/1.1 500 Oops\r\n\r\n")
    while True:
        connection.sendall(b" " * 0x10000)


@pytest.mark.parametrize("function", [endless, endless_error])
def test_a_reply_of_any_size_is_not_read(serve, source, monkeypatch, function):
    monkeypatch.setattr(endpoints, "LARGEST_REPLY", 1_000_000)
    endpoint = serve(function)
    with pytest.raises(PromptSourceError, match=r"more than 1,000,000 bytes; check the endpoint"):
        source(endpoint, retries=5).collect(0)
    assert len(endpoint.requests) == 1


def test_a_compressed_reply_is_not_unpacked(serve, source):
    endpoint = serve(lambda connection, _: connection.sendall(framed(b"x", headers=b"Content-Encoding: gzip\r\n")))
    with pytest.raises(PromptSourceError, match=r"its answer is compressed \(gzip\)"):
        source(endpoint).collect(0)


def test_redirects_are_followed_within_the_timeout_alone(serve, source):
    def forward(connection, _):
        time.sleep(0.1)
        connection.sendall(framed(b"", "307 Temporary Redirect", b"Connection: close\r\nLocation: /v1/again\r\n"))

    start = time.monotonic()
    with pytest.raises(PromptSourceError, match=r"no whole reply within 0\.5 seconds"):
        source(serve(forward), timeout=0.5).collect(0)
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_redirect_to_another_server_is_not_followed(serve, source, host):
    other = serve(lambda connection, _: connection.sendall(framed(answer(LIST))))
    address = other.address.replace("127.0.0.1", host)
    head = f"Connection: close\r\nLocation: {address}/chat/completions\r\n".encode()
    first = serve(lambda connection, _: connection.sendall(framed(b"", "307 Temporary Redirect", head)))
    with pytest.raises(PromptSourceError, match=rf"it sends requests on to http://{host}:\d+; give that address"):
        source(first, retries=2).collect(0)
    assert (len(first.requests), other.requests) == (1, [])


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("http://a/v1", "http://a/v2", True),
        ("http://a/v1", "https://a/v1", True),
        ("https://a/v1", "http://a/v1", False),
        ("http://a:80/v1", "http://a/v1", True),
        ("http://a:8000/v1", "https://a:9000/v1", False),
        ("http://a:8000/v1", "http://a:8001/v1", False),
        ("https://a/v1", "https://b.a/v1", False),
    ],
)
def test_a_server_is_a_scheme_a_host_and_a_port(old, new, same):
    address = type(openai.OpenAI(api_key="none").base_url)
    assert endpoints._is_same_server(address(old), address(new)) == same


@pytest.mark.parametrize("key", ["sk-secret\n", " sk-secret", "sk-s\u00e9cret", "\t"])
def test_a_key_that_is_none_is_refused_unshown(serve, source, monkeypatch, key):
    endpoint = serve(lambda connection, _: None)
    monkeypatch.setenv("SOME_KEY", key)
    asking = source(endpoint, api_key_variable="SOME_KEY")
    for ask in (asking.check, asking.collect):
        with pytest.raises(PromptSourceError, match="'SOME_KEY' holds a space, a line break or another") as caught:
            ask(0)
        assert "cret" not in str(caught.value)
    assert not endpoint.requests


@pytest.mark.parametrize("address", ["http://localhost:1/v1\n", "http://local host/v1", "http://a\0/v1"])
def test_an_endpoint_with_a_space_or_a_line_break_is_refused(address):
    with pytest.raises(ValueError, match="with a space or line break in it"):
        LanguageModelSource(endpoint=address, model="m", count=1)


def test_an_endpoint_whose_name_cannot_be_is_refused(source, serve):
    asking = source(serve(lambda connection, _: None)).model_copy(update={"endpoint": "http://\u2603.example/v1"})
    with pytest.raises(PromptSourceError, match="is no address"):
        asking.collect(0)


def test_why_there_is_no_connection_is_told(source, serve):
    endpoint = serve(lambda connection, _: None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asking = source(endpoint).model_copy(update={"endpoint": f"http://127.0.0.1:{port}/v1", "retries": 0})
    with pytest.raises(PromptSourceError, match=r"Connection error\. \(.+\); try again later"):
        asking.collect(0)


def test_a_redirect_within_a_host_is_followed(serve, source):
    def forward(connection, _):
        moved = len(endpoint.requests) == 1
        head = b"Connection: close\r\nLocation: /v1/again\r\n"
        connection.sendall(framed(b"", "307 Temporary Redirect", head) if moved else framed(answer(LIST)))

    endpoint = serve(forward)
    assert source(endpoint).collect(0)["text"].tolist() == PROMPTS


@pytest.mark.parametrize("asked", ["Retry-After: 100", "Retry-After-Ms: 100000", "Retry-After: {}"])
def test_a_wait_that_a_server_asks_for_is_no_longer_than_the_timeout(serve, source, asked):
    head = asked.format(formatdate(time.time() + 100, usegmt=True)).encode() + b"\r\nConnection: close\r\n"
    endpoint = serve(lambda connection, _: connection.sendall(framed(b"", "503 Service Unavailable", head)))
    start = time.monotonic()
    with pytest.raises(PromptSourceError, match="Error code: 503"):
        source(endpoint, timeout=0.5, retries=1).collect(0)
    assert 0.4 < time.monotonic() - start < 5
    assert len(endpoint.requests) == 2


def test_a_long_wait_is_told(serve, source, caplog):
    caplog.set_level("INFO")
    head = b"Retry-After: 30\r\nConnection: close\r\n"
    endpoint = serve(lambda connection, _: connection.sendall(framed(b"", "503 Service Unavailable", head)))
    with pytest.raises(PromptSourceError, match="Error code: 503"):
        source(endpoint, timeout=20).collect(0)
    assert "the endpoint is busy (503): 20 seconds until the next try" in caplog.text


def test_an_endpoint_may_be_asked_where_an_event_loop_runs(serve, source):
    endpoint = serve(lambda connection, _: connection.sendall(framed(answer(json.dumps(PROMPTS), total_tokens=200))))

    async def notebook():
        return source(endpoint).collect(0)

    assert asyncio.run(notebook())["text"].tolist() == PROMPTS


@pytest.mark.parametrize("tokens", [0, 1, 30, None])
def test_what_an_endpoint_reports_too_low_to_be_true_counts_at_its_most(serve, source, tokens):
    def reply(connection, request):
        new = [f"{len(endpoint.requests)} {prompt}" for prompt in PROMPTS]
        connection.sendall(framed(answer(json.dumps(new), total_tokens=tokens)))

    endpoint = serve(reply)
    with pytest.raises(PromptCountError, match=r"m gave 18 of 100 prompts for \d{4} tokens, and total_tokens is 4000"):
        source(endpoint, count=100, max_tokens=1000, total_tokens=4000).collect(0)
    assert len(endpoint.requests) == 2


def test_a_reply_longer_than_was_asked_for_counts_with_its_bytes(serve, source):
    def reply(connection, request):
        text = f"{len(endpoint.requests)} " + "fox " * 5000
        connection.sendall(framed(answer(json.dumps([text]), total_tokens=0)))

    endpoint = serve(reply)
    with pytest.raises(PromptCountError, match=r"m gave 2 of 100 prompts for 4\d{4} tokens"):
        source(endpoint, count=100, max_tokens=100, total_tokens=30_000).collect(0)
    assert len(endpoint.requests) == 2


STRICT = {
    "object": "error",
    "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs", "input": 1}]},
}


@pytest.mark.parametrize(
    ("status", "body", "words", "cure"),
    [
        (422, STRICT, "body.seed: Extra inputs", "it names the field 'seed': set seed: null"),
        (
            400,
            {"error": {"message": "'max_tokens' is not supported here. Use 'max_completion_tokens' instead."}},
            "'max_tokens' is not supported here",
            "the field 'max_tokens': set max_completion_tokens in its place",
        ),
        (
            400,
            {"error": {"message": "Only the default (1) is supported", "param": "temperature"}},
            "temperature: Only the default (1) is supported",
            "the field 'temperature': change temperature in the source, or set temperature: null",
        ),
        (400, {"error": {"message": "System role not supported", "code": 400}}, "System role", "system_message: false"),
        *(
            (400, {"error": said}, said, "system_message: false")
            for said in (
                "Unknown role: system",
                "This model cannot take a system message",
                "system message is disallowed",
            )
        ),
        (500, {"error": "Internal system message: CUDA out of memory"}, "CUDA out of memory", "try again later"),
        (
            422,
            {"error": "Template error: Conversation roles must alternate user/assistant/..."},
            "roles must alternate",
            "set system_message: false",
        ),
        (
            400,
            [{"error": {"code": 400, "message": "Developer instruction is not enabled for models/gemma-3-27b-it"}}],
            "Developer instruction is not enabled",
            "set system_message: false",
        ),
        (
            400,
            {"error": {"message": "'messages[0].role' does not support 'system' here", "param": "messages"}},
            "does not support 'system'",
            "set system_message: false",
        ),
        (
            500,
            {"error": {"code": 500, "message": "Only user and assistant roles are supported, got system."}},
            "got system",
            "set system_message: false",
        ),
        (500, {"error": {"message": "the system is down"}}, "the system is down", "try again later"),
        (400, {"error": "bad model"}, "bad model", "check the key"),
        (400, {"error": "by-seed/seed-1.6 is not a valid model ID"}, "by-seed/seed-1.6 is not", "check the key"),
        (404, {"message": "no such model"}, "no such model", "check the key"),
        (404, {"error": {"message": "seed not found"}}, "seed not found", "check the key"),
        (503, {"error": {"message": "down for repair"}}, "down for repair", "try again later"),
        (400, [{"error": {"code": 400, "message": "Invalid JSON payload: Unknown name seed"}}], "Unknown name", "seed"),
        (400, "plain words", "plain words", "check the key"),
        (400, {"status": "error", "reason": "no such tier"}, '"reason": "no such tier"', "check the key"),
        (400, {"error": {"code": "bad", "reason": "no such tier"}}, '"reason": "no such tier"', "check the key"),
        (400, {"a": {"b": 1}}, '{"a": {"b": 1}}', "check the key"),
    ],
)
def test_the_servers_own_words_are_shown_and_what_helps(serve, source, status, body, words, cure):
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    endpoint = serve(lambda connection, _: connection.sendall(framed(raw, f"{status} No")))
    with pytest.raises(PromptSourceError) as caught:
        source(endpoint).collect(0)
    assert words in str(caught.value) and cure in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is 2048 "
            "tokens and your request has 130 input tokens (2000 > 2048 - 130).",
            "; set a lower {} in the source, and a lower prompts_per_request with it; its earlier",
        ),
        ("This model's maximum context length is 2048 tokens. You requested 2130 tokens.", "; set a lower {} in"),
        ("`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 130 and 2000", "; set a lower {} in"),
        ("Invalid {} value, the valid range of {} is [1, 1024]", "; set a lower {} in"),
        ("`{}` must be less than or equal to `1024`", "; set a lower {} in"),
        ("This model supports at most 1024 {}, whereas you provided 2000", "; set a lower {} in"),
        ("{}: the value must not be greater than 1024", "; set a lower {} in"),
        ("Could not finish the message. Try again with higher {}.", "it names the field '{}': change it in"),
        ("Unsupported parameter: {}", "it names the field '{}': set max_completion_tokens"),
    ],
)
def test_a_limit_that_is_too_large_is_to_be_lowered_whatever_its_name(serve, source, words, cure, name):
    raw = json.dumps({"error": {"message": words.replace("{}", name)}}).encode()
    endpoint = serve(lambda connection, _: connection.sendall(framed(raw, "400 No")))
    with pytest.raises(PromptSourceError) as caught:
        source(endpoint, **{name: 2000}).collect(0)
    assert cure.format(name) in str(caught.value)


@pytest.mark.parametrize("charset", ["rot13", "undefined", "hex"])
def test_a_charset_that_cannot_be_is_passed_over(serve, source, charset):
    content_type = f"Content-Type: application/json; charset={charset}\r\n".encode()
    body = json.dumps({"error": {"message": "not so ☂"}}).encode()
    endpoint = serve(lambda connection, _: connection.sendall(framed(body, "400 No", content_type)))
    with pytest.raises(PromptSourceError, match="not so"):
        source(endpoint).collect(0)


def test_an_error_in_an_answer_of_success_is_shown(serve, source):
    body = json.dumps({"error": {"message": "out of credits", "code": 402}}).encode()
    endpoint = serve(lambda connection, _: connection.sendall(framed(body)))
    with pytest.raises(PromptSourceError, match="Error code: 402: out of credits; check the key, the endpoint and"):
        source(endpoint, retries=2).collect(0)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("code", [408, 409, 429, "429", 500, 503])
@pytest.mark.parametrize("name", ["code", "status", "choice"])
def test_an_error_in_an_answer_of_success_is_tried_again_as_its_code_says(serve, source, code, name):
    error = {"message": "not now", "code" if name == "choice" else name: code}
    failed = {"error": error, "message": {"role": "assistant", "content": ""}, "finish_reason": "error"}
    failure = json.dumps({"choices": [failed]} if name == "choice" else {"choices": None, "error": error}).encode()

    def reply(connection, _):
        good = answer(json.dumps(PROMPTS[:4] if len(endpoint.requests) == 1 else PROMPTS[4:]), total_tokens=200)
        connection.sendall(
            framed(
                failure if len(endpoint.requests) == 2 else good, headers=b"Retry-After-Ms: 1\r\nConnection: close\r\n"
            )
        )

    endpoint = serve(reply)
    assert source(endpoint, retries=1).collect(0)["text"].tolist() == PROMPTS
    assert len(endpoint.requests) == 3
    assert endpoint.requests[1] == endpoint.requests[2]


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ({"error": {"message": "not now", "code": 429}}, "Error code: 429: not now; try again later"),
        ({"error": {"message": "no", "code": 403}}, "Error code: 403: no; check the key and the model's name"),
        ({"error": "not now"}, "choices: Field required; it says: not now); run again"),
        ({"choices": [], "error": {"code": "busy", "message": "not now"}}, "it says: not now); run again"),
        ({"choices": [{}]}, "choices.0.message: Field required); run again"),
        (
            {"choices": [{"error": {"message": "gone", "code": 502}, "message": {"content": ""}}]},
            "Error code: 502: gone; try again later",
        ),
        (
            {"choices": [{"error": {"message": "gone", "code": "gone"}}]},
            "failed within a reply: gone; run again",
        ),
        (
            {"choices": [{"message": {"content": '["a fox"]'}, "finish_reason": "error"}]},
            "failed within a reply: it does not say why; run again",
        ),
        (
            {"choices": [{"message": {"content": ""}, "finish_reason": "error"}], "error": {"message": "not now"}},
            "failed within a reply: not now; run again",
        ),
        (
            {"choices": [{"message": {"content": '["a fox"]'}}], "error": {"message": "not now", "code": 0}},
            "failed within a reply: not now; run again",
        ),
        ({"choices": [{"error": {"message": None}}]}, "choices.0.message: Field required); run again"),
        (
            {"choices": [{"message": {"content": '["a red'}, "error": {"type": "overloaded", "code": None}}]},
            "failed within a reply: overloaded; run again",
        ),
    ],
)
def test_an_address_that_has_answered_is_not_doubted(serve, source, failure, said):
    def reply(connection, _):
        good = answer(json.dumps(PROMPTS[:4]), total_tokens=200)
        connection.sendall(framed(good if len(endpoint.requests) == 1 else json.dumps(failure).encode()))

    endpoint = serve(reply)
    with pytest.raises(PromptSourceError) as caught:
        source(endpoint).collect(0)
    assert said in str(caught.value) and "its earlier replies are kept" in str(caught.value)
    assert "address" not in str(caught.value)
    with pytest.raises(PromptSourceError) as caught:  # the first reply comes from the cache
        source(endpoint).collect(0)
    assert said in str(caught.value)


SUCCESS = ["0", "200", "ok", "Success", "none", "null", "None", "false", " ", "completed", "0.0"]
"""What servers write where there is no error."""


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        *({"message": None, "code": None}, {"message": " ", "code": 0}, {"x": 1}, {}, False, None),
        *("null", {"code": "0", "message": ""}, {"code": "200", "message": "success"}),
        [{name: text, "message": ""} for name in ("code", "type", "status") for text in SUCCESS],
        [each for text in SUCCESS for each in (text, {"message": text, "code": "0"}, {"error": {"msg": text}})],
    ],
)
def test_an_error_that_says_nothing_and_has_no_code_of_failure_is_none(serve, source, within, error):
    reply = json.loads(answer(LIST, total_tokens=200))
    (reply["choices"][0] if within else reply)["error"] = error
    endpoint = serve(lambda connection, _: connection.sendall(framed(json.dumps(reply).encode())))
    assert source(endpoint).collect(0)["text"].tolist() == PROMPTS


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize(
    ("error", "said"),
    [
        ({"status": "UNAVAILABLE"}, "UNAVAILABLE"),
        ({"innererror": {"code": "ResponsibleAI"}}, "ResponsibleAI"),
        ({"message": " ", "code": "0", "type": "overloaded"}, "overloaded"),
        ({"message": "ok", "code": "busy"}, "busy"),
        ({"error": {"message": None, "code": "busy"}}, "busy"),
        (True, "True"),
        ("404", "404"),
        ([{"message": None}, {"msg": "not now"}], "not now"),
    ],
)
def test_an_error_of_no_message_is_told_by_its_names(serve, source, within, error, said):
    reply = json.loads(answer(LIST, total_tokens=200))
    (reply["choices"][0] if within else reply)["error"] = error
    endpoint = serve(lambda connection, _: connection.sendall(framed(json.dumps(reply).encode())))
    with pytest.raises(PromptSourceError, match=f"failed within a reply: {said}; run again"):
        source(endpoint).collect(0)


@pytest.mark.parametrize("message", [{}, {"message": None}, {"message": {"content": None}}])
@pytest.mark.parametrize(
    ("end", "said"), [("content_filter", "an empty reply"), ("length", "a reply cut off at max_tokens")]
)
def test_a_reply_that_a_filter_or_a_limit_dropped_counts_as_unusable(serve, source, caplog, message, end, said):
    dropped = json.dumps({"choices": [{"index": 0, "finish_reason": end, **message}]}).encode()

    def reply(connection, _):
        connection.sendall(framed(dropped if len(endpoint.requests) == 1 else answer(LIST, total_tokens=200)))

    endpoint = serve(reply)
    assert source(endpoint).collect(0)["text"].tolist() == PROMPTS
    assert f"m: not used: 1 x {said}" in caplog.text


@pytest.mark.parametrize("known", [False, True])
def test_what_is_meant_for_openai_is_told_to_no_other_server(serve, source, monkeypatch, caplog, known):
    endpoints._tell_of.cache_clear()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-secret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: team-secret\nAuthorization: Bearer sk-custom")
    monkeypatch.setattr(endpoints, "is_openai", lambda endpoint: known)
    endpoint = serve(lambda connection, _: connection.sendall(framed(answer(json.dumps(PROMPTS), total_tokens=200))))
    source(endpoint).collect(0)
    told = "127.0.0.1 gets no openai-organization, openai-project, x-team: what OPENAI_… variables hold"
    assert caplog.text.count(told) == (0 if known else 1)
    head = endpoint.heads[0].lower()
    assert [name in head for name in ("org-secret", "proj-secret", "team-secret")] == [known] * 3
    assert "sk-" not in head and "authorization: bearer none" in head


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("https://api.openai.com/v1", True),
        ("https://eu.api.openai.com/v1", True),
        ("https://API.OpenAI.com:443/v1", True),
        ("https://api.openai.com.example.org/v1", False),
        ("https://myapi.openai.com/v1", False),
        ("http://localhost:8000/api.openai.com/v1", False),
    ],
)
def test_openais_own_endpoint_is_known_by_its_host(address, known):
    assert is_openai(address) == known


def test_an_error_in_an_answer_of_success_does_not_show_the_key(serve, source, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "7f3a9c51d2e84b60a1c7")
    body = json.dumps({"error": {"message": "Incorrect API key provided: 7f3a9c51d2e84b60a1c7"}}).encode()
    endpoint = serve(lambda connection, _: connection.sendall(framed(body)))
    with pytest.raises(PromptSourceError, match=r"it says: Incorrect API key provided: \*\*\*"):
        source(endpoint).model_copy(update={"api_key_variable": "SOME_KEY"}).collect(0)


@pytest.mark.parametrize("name", ["seed", "temperature", "max_tokens"])
def test_a_field_can_be_left_out(serve, source, name):
    def strict(connection, request):
        if name in request:
            connection.sendall(framed(json.dumps({"message": f"unknown {name}"}).encode(), "422 No"))
        else:
            new = [f"{len(endpoint.requests)} {prompt}" for prompt in PROMPTS]
            connection.sendall(framed(answer(json.dumps(new), total_tokens=200)))

    endpoint = serve(strict)
    with pytest.raises(PromptSourceError, match=f"unknown {name}; it names the field '{name}'"):
        source(endpoint).collect(0)
    table = source(endpoint, count=27, topics=["one"], **{name: None}).collect(0)
    assert len(table) == 27 and table["prompt_id"].is_unique
    asked = len(endpoint.requests)
    assert source(endpoint, count=27, topics=["one"], **{name: None}).collect(0).equals(table)
    assert len(endpoint.requests) == asked
    assert not source(endpoint, count=27, topics=["one"], **{name: None}).collect(1)["text"].equals(table["text"])


def test_a_model_without_a_system_message_gets_the_instruction_before_the_text(serve, source):
    def strict(connection, request):
        if request["messages"][0]["role"] == "system":
            connection.sendall(framed(b'{"error": {"message": "System role not supported"}}', "400 No"))
        else:
            connection.sendall(framed(answer(json.dumps(PROMPTS), total_tokens=200)))

    endpoint = serve(strict)
    with pytest.raises(PromptSourceError, match="not supported; set system_message: false in the source"):
        source(endpoint, instruction="Ask.").collect(0)
    settings = {"topics": ["owls"], "system_message": False}
    assert source(endpoint, instruction="Ask.", **settings).collect(0)["text"].tolist() == PROMPTS
    source(endpoint, instruction=" ", **settings).collect(0)
    source(endpoint, instruction="", topics=["owls"]).collect(0)
    text = "Write 9 prompts. Topic: owls."
    contents = [[(each["role"], each["content"]) for each in request["messages"]] for request in endpoint.requests]
    assert contents[1:] == [[("user", f"Ask.\n\n{text}")], [("user", text)]]
    assert contents[0][0] == ("system", "Ask.")


def test_the_limit_of_a_reply_has_a_newer_name(serve, source):
    endpoint = serve(lambda connection, _: connection.sendall(framed(answer(json.dumps(PROMPTS), total_tokens=200))))
    source(endpoint, max_completion_tokens=700).collect(0)
    assert endpoint.requests[0]["max_completion_tokens"] == 700
    assert "max_tokens" not in endpoint.requests[0]


LIST = json.dumps(PROMPTS)


@pytest.mark.parametrize(
    "content",
    [
        LIST,
        f'<think>\nThe user wants prompts, such as ["a draft"].\n</think>\n\n{LIST}',
        f'I list ["a draft"] first.\n</think>\n{LIST}',
        f"<THINKING>no</THINKING>```json\n{LIST}\n```",
        f'<|channel|>analysis<|message|>["a"]<|end|><|start|>assistant<|channel|>final<|message|>{LIST}<|return|>',
        f'<|channel|>analysis<|message|>["a"]<|end|><|channel|>final <|constrain|>json<|message|>{LIST}',
        f"[THINK]I try {json.dumps(['a draft'] * 20)}[/THINK]{LIST}",
        f"<reasoning_content>{json.dumps(['a draft'] * 20)}</reasoning_content>{LIST}",
        f"<seed:think>{json.dumps(['a draft'] * 20)}</seed:think>{LIST}",
        f"Here are the prompts.\n{LIST}\nI hope [you] like them [1].",
        "\n".join(json.dumps([prompt]) for prompt in PROMPTS),
        f"```json\n{json.dumps(PROMPTS[:2])}\n\n{json.dumps(PROMPTS[2:])}\n```",
        f"Here are [9] prompts:\n\n```json\n{LIST}\n```\n\nTell me if you want more.",
        f"Here they are: {LIST} I hope they [all] help.",
        f"```\n{LIST}\n```",
        json.dumps([{"prompt": prompt} for prompt in PROMPTS]),
        json.dumps([{"id": number, "Prompt": prompt, "title": "x"} for number, prompt in enumerate(PROMPTS)]),
        json.dumps({"topic": "animals", "prompts": PROMPTS}),
        json.dumps({"prompts": [{"text": prompt} for prompt in PROMPTS], "tags": ["a"]}),
        "\n".join(json.dumps({"prompt": prompt}) for prompt in PROMPTS),
        "{" + ", ".join(f'"prompt": {json.dumps(prompt)}' for prompt in PROMPTS) + "}",
        json.dumps({f"prompt_{number}": prompt for number, prompt in enumerate(PROMPTS)}),
        json.dumps({"result": {str(number): prompt for number, prompt in enumerate(PROMPTS)}}),
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": LIST}],
        [{"type": "reasoning", "text": '["a draft"]'}, {"type": "text", "text": LIST}],
        [{"text": '["a draft"]', "thought": True}, {"text": LIST}],
        f'◁think▷["a draft"]◁/think▷{LIST}',
        f'<|START_THINKING|>["a draft"]<|END_THINKING|>{LIST}',
        f'<think effort="low">["a draft"]</think>{LIST}',
        f'The form is\n```json\n["prompt 1", "prompt 2"]\n```\nHere they are:\n{LIST}',
        f'Draft:\n```json\n["a draft"]\n```\nFinal:\n```json\n{LIST}',
        f'```json\n{LIST}\n```\nStyles: ["oil", "ink"]',
        f"```python\nprint('prompts')\n```\n```json\n{LIST}\n```\n```sh\necho [1]\n```",
        "\n".join(json.dumps({"prompt": prompt, "tags": ["cute", prompt]}) for prompt in PROMPTS),
        "```json\n" + "\n".join(json.dumps({"text": prompt, "tags": ["cute"]}) for prompt in PROMPTS) + "\n```",
        json.dumps({"prompts": PROMPTS, "negative_prompts": [*PROMPTS[:1], "ugly"], "styles": ["oil"]}),
        json.dumps({"prompts": PROMPTS, "Negative_prompts": ["blurry, low quality, watermark, " * 9] * 20}),
        f'{LIST}\n\nNotes: I avoided ["artists", "brands", "names"].',
        f"```json\n{LIST}\n```\nEach one varies {json.dumps(['light'] * len(PROMPTS))}.",
        f'```json\n{LIST}\n```\nThemes:\n```json\n["animals"]\n```',
        json.dumps([f"**Prompt {number}: {prompt}**" for number, prompt in enumerate(PROMPTS)]),
        json.dumps([f"{number}. {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"{number}) **{prompt}**" for number, prompt in enumerate(PROMPTS, start=4)]),
        json.dumps([f"**{number}.** {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"**Prompt {number}**: {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"**Prompt {number}:** {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"__{number})__ **{prompt}**" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"{number} - {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"**{number}** \u2013 {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"({number}) {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([f"[{number}] {prompt}" for number, prompt in enumerate(PROMPTS, start=1)]),
        json.dumps([{"prompts": [f"{n}. {p}" for n, p in enumerate(PROMPTS[i : i + 3], 1)]} for i in (0, 3, 6)]),
        json.dumps([f"{number % 4 + 1}. {prompt}" for number, prompt in enumerate(PROMPTS)]),
        json.dumps([{"positive_prompt": prompt, "negative_prompt": "blurry"} for prompt in PROMPTS]),
        f'{LIST}\n\n<reflection>Better than ["a draft"].</reflection>\nI hope they help.',
    ],
)
def test_replies_of_reasoning_and_talkative_models_are_read(serve, source, content):
    endpoint = serve(lambda connection, _: connection.sendall(framed(answer(content, total_tokens=200))))
    assert source(endpoint).collect(0)["text"].tolist() == PROMPTS


@pytest.mark.parametrize(
    ("content", "texts", "reason"),
    [
        ('{"prompt": "a cat on a mat", "tags": ["cute", "furry"]}', ["a cat on a mat"], None),
        ('{"caption": "a cat", "words": ["cute", "furry"]}', ["a cat"], None),
        ('[{"description": "A sign above a door at dawn", "text": "BREAD"}]', ["A sign above a door at dawn"], None),
        ('[{"caption": "Fox", "Description": "A red fox in deep snow"}]', ["A red fox in deep snow"], None),
        ('[{"text": "a red fox in deep snow", "caption": "Fox"}]', ["a red fox in deep snow"], None),
        ('[{"text": "a red fox in snow", "description": "Tests what red is said of"}]', ["a red fox in snow"], None),
        ('[{"description": "about a fox in the snow", "prompt": "a fox"}]', ["a fox"], None),
        ('[{"text": "words about a fox", "positive_prompt": "a fox"}]', ["a fox"], None),
        ('{"animals": ["a fox", "a dog"], "food": ["a cake", "a p', [], "a reply that ends within its JSON"),
        ('◁think▷ maybe ["a draft"] or so', [], "a reply that is not JSON"),
        ('<think effort="low"> maybe ["a draft"]', [], "a reply that is not JSON"),
        ('<|START_THINKING|> maybe ["a draft"]', [], "a reply that is not JSON"),
        ('```\n["a draft"]\n```\nBetter:\n```\n["one", "two",]\n```', [], "a last block of code that is not JSON"),
        ('{"prompts": ["a", "b"], "avoid_prompts": ["c"]}', ["a", "b"], "an entry of a further list"),
        ('[{"negative_prompt": "blurry"}, {"prompt": "a fox"}]', ["a fox"], "an entry that is not text"),
        ('As ["one", ...]:\n["a fox"]', ["a fox"], "a list that is not JSON"),
        ('```\n["one", "two"]\n```\nStyles: ["oil"]', ["one", "two"], "an entry of a further list"),
        ('["1. a fox", "3. Liga"]', ["1. a fox", "3. Liga"], None),
        ('["1: 4 foxes"]', ["1: 4 foxes"], None),
        ('["1.5 liters of milk", "2.5 liters of oil"]', ["1.5 liters of milk", "2.5 liters of oil"], None),
        ('["12:00 on a clock", "13:00 on a clock"]', ["12:00 on a clock", "13:00 on a clock"], None),
        ('["1980: the moon", "1981: the sun"]', ["1980: the moon", "1981: the sun"], None),
        ('["3 foxes in the snow", "4 owls at night"]', ["3 foxes in the snow", "4 owls at night"], None),
        ('["1 - 0 on a scoreboard", "2 - 1 on a sign"]', ["1 - 0 on a scoreboard", "2 - 1 on a sign"], None),
        ('["**1** red fox", "**2** red owls"]', ["**1** red fox", "**2** red owls"], None),
        ('["**1. a** fox", "**2. an** owl"]', ["**1. a** fox", "**2. an** owl"], None),
        ('["1. a fox", "2. an owl", "a cat"]', ["1. a fox", "2. an owl", "a cat"], None),
        ('["7. Liga", "7. Liga, a fox"]', ["7. Liga", "7. Liga, a fox"], None),
        ('["**A cube** by a **ball**"]', ["**A cube** by a **ball**"], None),
        ('["a draft"]</think>', [], "a reply that is not JSON"),
        ('<think>["a draft"]</think> I cannot do that.', [], "a reply that is not JSON"),
    ],
)
def test_what_a_whole_reply_holds_is_read_or_counted(content, texts, reason):
    assert parse_reply(Reply(content=content, finish_reason="stop", tokens=1)) == (
        texts,
        Counter([reason] * bool(reason)),
    )


WIDE_STOP, WIDE_COLON = "\uff0e", "\uff1a"


@pytest.mark.parametrize(
    "number",
    [
        "{}、",
        "{}、 ",
        "**{}、** ",
        f"{{}}{WIDE_STOP}",
        f"{{}}{WIDE_COLON}",
        "\uff08{}\uff09",
        "【{}】",
        "{}.",
        "{})",
        "({})",
        "**{}.**",
        "Prompt {}:",
    ],
)
@pytest.mark.parametrize(
    "texts", [["一只橘猫坐在木椅上", "雪山脚下的小屋"], ["「星夜」の絵", "カフェの猫"], ["แมวสีส้ม", "บ้านในหิมะ"]]
)
def test_numbers_go_without_a_space_after_them_where_a_script_has_none(number, texts):
    content = json.dumps([number.format(place) + text for place, text in enumerate(texts, start=1)])
    assert parse_reply(Reply(content=content, finish_reason="stop", tokens=1)) == (texts, Counter())


@pytest.mark.parametrize(
    "texts",
    [
        ["3.5毫米镜头", "4.5毫米镜头"],
        [f"3{WIDE_STOP}5毫米镜头", f"4{WIDE_STOP}5毫米镜头"],
        [f"1{WIDE_COLON}1构图", f"2{WIDE_COLON}1构图"],
        ["3月的樱花", "4月的雨"],
        ["1.Edition", "2.Edition"],
        ["2、3只猫在屋顶上", "3、4个孩子在海边"],
        ["1、一只猫", "3、一只狗"],
        ["1、一只猫", "一只狗"],
    ],
)
def test_numbers_that_belong_to_a_text_stay(texts):
    reply = Reply(content=json.dumps(texts), finish_reason="stop", tokens=1)
    assert parse_reply(reply) == (texts, Counter())


@pytest.mark.parametrize("reason", ["length", "model_length", "MAX_TOKENS", "max_output_tokens"])
def test_no_draft_before_a_cut_is_a_prompt_whatever_its_reason_is_called(reason):
    reply = Reply(content='First: ["a draft"]. Better:\n["a red fox", "a bl', finish_reason=reason, tokens=1)
    assert parse_reply(reply) == ([], Counter(["a reply cut off at max_tokens"]))


@pytest.mark.parametrize(
    ("content", "texts", "reasons"),
    [
        ('<think>I could say ["a draft"] or', [], {"a reply cut off at max_tokens": 1}),
        ('```json\n["one", "tw', [], {"a reply cut off at max_tokens": 1}),
        ('{"a": ["one"], "b": ["two"]}', [], {"a reply that is not a list of prompts": 1}),
        ('["one", {"a": "x", "b": "y"}, {"prompt": 3}, [4]]', ["one"], {"an entry that is not text": 3}),
        ('```\n["one"]\n```\n```\n["two", "three"]\n```', ["two", "three"], {"an entry of a further list": 1}),
        ('<|channel|>analysis<|message|>say ["a draft"]', [], {"a reply cut off at max_tokens": 1}),
        ('[THINK]I could say ["a draft"]', [], {"a reply cut off at max_tokens": 1}),
        ('◁think▷Let me draft: ["a draft", "another"]. Hmm, but', [], {"a reply cut off at max_tokens": 1}),
        ('Let me draft: {"prompt": "a draft"}. Hmm, but', [], {"a reply cut off at max_tokens": 1}),
        ('Not: ["one", "two"]. Rather: ["three"]', ["three"], {"an entry of a further list": 2}),
        ('["one", "two"] and [3]', ["one", "two"], {}),
        ('```\n["one", "two"]\n```\nBetter:\n```\n["three"]\n```', ["three"], {"an entry of a further list": 2}),
        ('Styles: ["oil"]\n{"prompt": "one"}\n{"prompt": "two"}', ["one", "two"], {"an entry of a further list": 1}),
        ('So: ["one"] {"note": "x"}', ["one"], {"an entry of a further list": 1}),
        ('["a </think> fox"]', ["a </think> fox"], {}),
        ('{"prompt": "one"}', ["one"], {}),
        ('{"error": "The request was refused."}', [], {"a reply that is not a list of prompts": 1}),
        ('{"answer": "I cannot do that."}', [], {"a reply that is not a list of prompts": 1}),
        ('["one", {"refusal": "I cannot do that."}]', ["one"], {"an entry that is not text": 1}),
        ('[{"topic": "animals", "prompts": ["a fox"]}, {"prompts": [{"text": "a cat"}]}]', ["a fox", "a cat"], {}),
        ('[{"description": "about cars", "Prompts": ["a car"]}]', ["a car"], {}),
        ('[{"prompt": "a theme", "prompts": ["a dog", "a bird"]}]', ["a dog", "a bird"], {}),
        ('[{"topic": "x", "prompts": null}, "a cat"]', ["a cat"], {"an entry that is not text": 1}),
        ('[{"category": "animals"}, {"prompts": ["a dog"]}]', ["a dog"], {"an entry that is not text": 1}),
        ('[{"topic": "animals", "tags": ["a fox"]}]', [], {"an entry that is not text": 1}),
    ],
)
def test_what_of_a_reply_is_not_used_is_counted(content, texts, reasons):
    assert parse_reply(Reply(content=content, finish_reason="length", tokens=1)) == (texts, Counter(reasons))


def test_a_prompt_per_line_is_read_however_many_they_are():
    content = "\n".join(f'{{"prompt": "fox {number}"}}' for number in range(300))
    assert len(parse_reply(Reply(content=content, finish_reason="stop", tokens=1))[0]) == 300


@pytest.mark.parametrize("part", ["[1," * 4, "[", '["', "```\n", "<think>", "{", "[]", "<|channel|>", "[/THINK]"])
def test_a_hostile_reply_is_read_in_no_time(part):
    start = time.process_time()
    assert parse_reply(Reply(content=part * 300_000, finish_reason="stop", tokens=1))[0] == []
    assert time.process_time() - start < 5
