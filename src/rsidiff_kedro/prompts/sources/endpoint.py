"""Send a request to an OpenAI-compatible chat endpoint, which may be slow, endless or of another kind."""

import asyncio
import logging
import re
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Annotated, Any, TypeVar

import openai
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import from_json

from rsidiff_kedro.core.network import client_problem
from rsidiff_kedro.core.untrusted.loading import reason
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.prompts.sources.chat import Reply, is_openai
from rsidiff_kedro.prompts.sources.cures import find_cure
from rsidiff_kedro.prompts.sources.source import PromptSourceError

logger = logging.getLogger(__name__)

LARGEST_REPLY = 2_000_000
"""Bytes of an answer that are read; a hundred prompts take some ten thousand."""
CONNECT_SECONDS = 10.0
"""Time for a connection, which is tried again; a reply that takes too long is not."""
LONGEST_WAIT = 60.0
"""Seconds of a wait that a busy server asks for; where the timeout is shorter, that long."""
TOLD_WAIT = 5.0
"""Seconds of a wait that is told in the log."""
_THOUGHTS = re.compile("reason|think|thought|analysis", re.IGNORECASE)
"""Types of the parts of a content that are no answer."""
_WORDS = ("error", "message", "detail", "error_description", "msg")
_NAMES = ("code", "type", "status", "innererror")
"""Entries that name an error which has no words."""
_NO_ERROR = re.compile(r"ok|success|succeeded|completed?|none|null|false|(?![45]\d\d\b)\d+(?:\.0)?", re.IGNORECASE)
"""Texts with which servers say that there is no error."""

T = TypeVar("T")


class _ElsewhereError(openai.OpenAIError):
    """An answer that sends the request, with all it says, on to another server; not retried."""


class _TooLongError(openai.OpenAIError):
    """An answer of more than `LARGEST_REPLY` bytes, or a compressed one, whose length cannot be told; not retried."""


def _join_text(content: Any) -> Any:
    """Return the texts of a content in parts, as some reasoning models answer, without their thoughts."""
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        answers = [part for part in content if not (_THOUGHTS.search(str(part.get("type"))) or part.get("thought"))]
        return "".join(part["text"] for part in answers if isinstance(part.get("text"), str))
    return content


class _Message(BaseModel):
    content: Annotated[str | None, BeforeValidator(_join_text)] = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, choice: Any) -> Any:
        """Let a choice be without a message that did not end by itself, as where a filter drops the whole reply."""
        if not isinstance(choice, dict) or choice.get("message") is not None:
            return choice
        ended = bool(_told(choice.get("error"))) or (choice.get("finish_reason") or "stop") != "stop"
        return {**choice, "message": {}} if ended else choice


class _Usage(BaseModel):
    total_tokens: int | None = Field(default=None, ge=0)


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class _Client(openai.DefaultAsyncHttpxClient):
    """An HTTP client that gives up an answer that is not complete in time, too long, or sent on to another server.

    It tells no other server than OpenAI's what variables such as OPENAI_ORG_ID hold. An error in an answer of success
    gets the status that its code names, so that it is tried again or not as any other.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(headers={"Accept-Encoding": "identity"})
        self._seconds = seconds

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """Send a request, and return its whole answer."""
        if not is_openai(str(request.url)):
            foreign = sorted(name for name in {*request.headers} - _OWN if not name.startswith("x-stainless-"))
            for name in foreign:  # the package reads its own from the request again
                del request.headers[name]
            _tell_of(request.url.host, *foreign)
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    response = await super().send(request, stream=True, **(options | {"follow_redirects": False}))
                    try:
                        content = await _read(response)
                    finally:
                        await response.aclose()
                    if response.next_request is None:
                        break
                    place = response.next_request.url
                    if not _is_same_server(request.url, place):
                        address = f"{place.scheme}://{place.netloc.decode(errors='replace')}"
                        raise _ElsewhereError(f"it sends requests on to {printable(address)}")
                    request = response.next_request
        except TimeoutError:
            raise openai.APITimeoutError(request=request) from None
        status = _status(response.status_code, content)
        headers = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _REPLACED]
        headers.append(("content-type", response.headers.get("content-type", "").partition(";")[0]))
        wait = _wait(response, status, min(self._seconds, LONGEST_WAIT))
        headers += [] if wait is None else [("retry-after-ms", str(int(wait * 1000)))]
        return type(response)(status, headers=headers, content=content, request=request)


def make_client(seconds: float) -> _Client:
    """Return an HTTP client, which needs no network yet.

    Raises:
        PromptSourceError: the variables of proxies or certificates are wrong.
    """
    try:
        return _Client(seconds)
    except Exception as error:  # of any kind, and of a package that differs between versions
        raise PromptSourceError(f"prompt_curation.source: {client_problem(error)}") from None


def _is_same_server(old: Any, new: Any) -> bool:
    """Tell whether two addresses have one scheme, host and port, or the new one adds encryption alone."""
    encrypted = (old.scheme, new.scheme, old.port, new.port) == ("http", "https", None, None)
    return old.host == new.host and (encrypted or (old.scheme, old.port) == (new.scheme, new.port))


_REPLACED = (
    "content-encoding",
    "content-length",
    "content-type",  # whose charset may be none that can be read; JSON is UTF-8
    "transfer-encoding",
    "retry-after",
    "retry-after-ms",
)


_OWN = {
    *("accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host"),
    *("idempotency-key", "transfer-encoding", "user-agent"),
}
"""Headers of a request to any server, in small letters; what variables name for OpenAI is none of them."""


@cache
def _tell_of(host: str, *names: str) -> None:
    """Say once which headers of a user's variables a server does not get."""
    if names:
        logger.warning("%s gets no %s: what OPENAI_… variables hold is sent to OpenAI alone", host, ", ".join(names))


def _status(status: int, content: bytes) -> int:
    """Return the status of an answer, or the one that an error in an answer of success names as its code."""
    if status >= 300 or b'"error"' not in content:
        return status
    return _code(_failure(content)) or status


def _code(error: Any) -> int | None:
    """Return the status of a failure that an error names as its code; None if it names none."""
    named = (str(error.get("code")), str(error.get("status"))) if isinstance(error, dict) else ()
    return next((int(code) for code in named if re.fullmatch(r"[45]\d\d", code)), None)


def _told(error: Any) -> str:
    """Return what an error says, or else its name; nothing where it is none.

    Some servers send one of nulls, or with the code "0" or "ok", with every reply.
    """
    return _said(error) or _said(error, (*_WORDS, *_NAMES))


def _wait(response: Any, status: int, longest: float) -> float | None:
    """Return the seconds, at most the longest, that a busy server asks to wait; None if it does not say."""
    asked = None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            asked = float(response.headers[name]) * unit
            break
    else:
        with suppress(KeyError, ValueError, TypeError, OverflowError):
            asked = parsedate_to_datetime(response.headers["retry-after"]).timestamp() - time.time()
    if asked is None or not asked > 0:
        return None
    wait = min(asked, longest)
    if status >= 400 and wait > TOLD_WAIT:
        logger.info("the endpoint is busy (%d): %.0f seconds until the next try, if one is left", status, wait)
    return wait


async def _read(response: Any) -> bytes:
    """Return the bytes of an answer."""
    coding = response.headers.get("content-encoding", "identity")
    if coding.lower() != "identity":
        raise _TooLongError(f"its answer is compressed ({coding[:20]}), which the request does not accept")
    content = bytearray()
    async for part in response.aiter_raw():
        content += part
        if len(content) > LARGEST_REPLY:
            raise _TooLongError(f"its answer has more than {LARGEST_REPLY:,} bytes")
    return bytes(content)


def send(
    body: dict[str, Any], endpoint: str, key: str | None, timeout: float, retries: int, answered: bool = False
) -> Reply:
    """Send a request, again after a busy or broken server (the package's own retries, with growing intervals).

    Args:
        timeout: seconds for the whole reply, from the connection to its last byte, and for a wait that it asks for.
        answered: the endpoint has answered a request of this kind before, so its address is right.

    Raises:
        PromptSourceError: no reply came; the message never holds the key.
    """
    try:
        answer = _run(_ask(body, endpoint, key, timeout, retries))
    except openai.OpenAIError as error:
        said, cure = _explain(error, body, timeout, retries, answered)
        said = _without(key, said)[:300]
        raise PromptSourceError(
            f"{endpoint} gave no reply: {type(error).__name__.strip('_')}: {said}; {cure}; its earlier replies are kept"
        ) from None
    return _read_answer(answer, endpoint, key, answered)


def _without(key: str | None, said: str) -> str:
    return said.replace(key, "***") if key else said


async def _ask(body: dict[str, Any], endpoint: str, key: str | None, timeout: float, retries: int) -> bytes:
    limits = openai.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
    options: Any = {"timeout": limits, "max_retries": retries, "http_client": make_client(timeout)}
    # OPENAI_CUSTOM_HEADERS may hold another key, which is none of this endpoint's.
    options["default_headers"] = {"Authorization": f"Bearer {key or 'none'}"}
    try:
        opened = openai.AsyncOpenAI(base_url=endpoint, api_key=key or "none", **options)
    except Exception as error:  # of its HTTP client, whose package differs between versions
        raise PromptSourceError(
            f"the endpoint {endpoint!r} is no address ({reason(error)}); give one such as http://localhost:8000/v1"
        ) from None
    async with opened as client:
        answer = await client.chat.completions.with_raw_response.create(**body)
        return answer.content


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run asynchronous work to its end, in a thread where this one runs some already, as a notebook's does."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, work).result()


def _explain(error: Exception, body: dict[str, Any], timeout: float, retries: int, answered: bool) -> tuple[str, str]:
    """Return what the server says and what to do."""
    again = f"try again later, or with more than {retries} retries"
    if isinstance(error, openai.APITimeoutError):
        said = f"no whole reply within {timeout:g} seconds"
        return said, "raise timeout, or lower prompts_per_request or max_tokens"
    if isinstance(error, _TooLongError):
        return str(error), "check the endpoint, or use another"
    if isinstance(error, _ElsewhereError):
        return str(error), "give that address as the endpoint, if you trust it with your prompts"
    if not isinstance(error, openai.APIStatusError):
        cause = error.__cause__
        return f"{error}{f' ({reason(cause)})' if isinstance(cause, Exception) else ''}", again
    words = _words(error.response.text)
    said = f"Error code: {error.status_code}: {words}"
    cure = find_cure(error.status_code, error.response.text, words, body)
    if cure is not None:
        return said, cure
    if error.status_code >= 500 or error.status_code in (408, 409, 429):
        return said, again
    return said, f"check the key{'' if answered else ', the endpoint'} and the model's name"


def _words(text: str) -> str:
    """Return what the body of an error says, whatever its shape."""
    try:
        return _said(_failure(text)) or _said(from_json(text)) or text
    except ValueError:
        return text


def _said(value: Any, entries: tuple[str, ...] = _WORDS) -> str:
    """Return what an error says in the first of these entries that says something, whatever its shape."""
    if isinstance(value, list):
        return "; ".join(filter(None, (_said(each, entries) for each in value)))
    if not isinstance(value, dict):
        text = str(value).strip()
        return "" if _NO_ERROR.fullmatch(text) else text
    words = next(filter(None, (_said(value.get(name), entries) for name in entries)), "")
    place = value.get("param") or value.get("loc")
    named = ".".join(map(str, place)) if isinstance(place, list) else str(place or "")
    return f"{named}: {words}" if words and named and named not in words else words


def _read_answer(body: bytes, endpoint: str, key: str | None, answered: bool) -> Reply:
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        words = _without(key, _told(_failure(body)))[:200]
        cure = "give the address up to and with its version, such as http://localhost:8000/v1"
        if answered:
            cure = "run again, which asks for this reply again; its earlier replies are kept"
        raise PromptSourceError(
            f"{endpoint} does not answer as an OpenAI-compatible chat endpoint does ({where}: {first['msg']}"
            f"{words and f'; it says: {words}'}); {cure}"
        ) from None
    choice, usage = answer.choices[0], answer.usage or _Usage()
    end = choice.finish_reason or "stop"
    failure = _failure(body)
    if failure is not None or end == "error":
        words = _without(key, _told(failure))[:300] or "it does not say why"
        raise PromptSourceError(
            f"{endpoint} failed within a reply: {words}; run again, which asks for this reply again; its earlier "
            "replies are kept"
        )
    return Reply(content=choice.message.content or "", finish_reason=end, tokens=usage.total_tokens)


def _failure(body: bytes | str) -> Any:
    """Return the error that some servers report in an answer of success, in its first choice or beside the choices.

    None if there is no error of which anything is `_told`.
    """
    try:
        answer = from_json(body)
    except ValueError:
        return None
    if not isinstance(answer, dict):
        return None
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    within = first.get("error") if isinstance(first, dict) else None
    return next(filter(_told, (within, answer.get("error"))), None)
