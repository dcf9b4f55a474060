"""Send requests to a chat endpoint, read its replies, and keep them in a folder."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import from_json

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.prompts.sources.source import PromptSourceError


class Reply(BaseModel, frozen=True):
    """A reply of the endpoint.

    Attributes:
        finish_reason: "stop", or "length" if the reply was cut off.
        tokens: of request and reply together, as the endpoint counts them; None if it does not say.
    """

    content: str
    finish_reason: str
    tokens: int | None = Field(ge=0)


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    total_tokens: int | None = Field(default=None, ge=0)


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class ReplyCache:
    """Replies in a folder, one JSON file each, named by the SHA-256 of the endpoint and the request without the key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, endpoint: str, body: dict[str, Any]) -> Reply | None:
        """Return the reply to this request, or None.

        Raises:
            PromptSourceError: the file holds something else, or its path is not possible.
        """
        path = self._path(endpoint, body)
        try:
            return Reply.model_validate(from_json(path.read_bytes())["reply"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PromptSourceError(
                f"{path} is not a kept reply ({error}); delete it to ask again, or set another cache"
            ) from None

    def put(self, endpoint: str, body: dict[str, Any], reply: Reply) -> None:
        """Keep a reply; a killed write leaves none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {"endpoint": endpoint, "request": body, "reply": reply.model_dump()}
        with replacing(self._path(endpoint, body)) as partial:
            partial.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")

    def _path(self, endpoint: str, body: dict[str, Any]) -> Path:
        text = json.dumps([endpoint, body], sort_keys=True)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def send(body: dict[str, Any], endpoint: str, key: str | None, timeout: float, retries: int) -> Reply:
    """Send a request, again after a busy or broken server (the package's own retries, with growing intervals).

    Raises:
        PromptSourceError: no reply came; the message never holds the key.
    """
    import openai  # an extra of the project; `LanguageModelSource.check` asks for it

    try:
        with openai.OpenAI(base_url=endpoint, api_key=key or "none", timeout=timeout, max_retries=retries) as client:
            answer = client.chat.completions.with_raw_response.create(**body).content
    except openai.OpenAIError as error:
        said = (str(error).replace(key, "***") if key else str(error))[:300]
        status = getattr(error, "status_code", None) or 500  # none without a connection
        cure = f"try again later, or with more than {retries} retries"
        if status < 500 and status not in (408, 409, 429):
            cure = "check the key, the endpoint and the model's name"
        raise PromptSourceError(
            f"{endpoint} gave no reply: {type(error).__name__}: {said}; {cure}; its earlier replies are kept"
        ) from None
    return _read_answer(answer, endpoint)


def _read_answer(body: bytes, endpoint: str) -> Reply:
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise PromptSourceError(
            f"{endpoint} does not answer as an OpenAI-compatible chat endpoint does ({where}: {first['msg']}); give "
            "the address up to and with its version, such as http://localhost:8000/v1"
        ) from None
    choice, usage = answer.choices[0], answer.usage or _Usage()
    reason = choice.finish_reason or "stop"
    return Reply(content=choice.message.content or "", finish_reason=reason, tokens=usage.total_tokens)


def parse_reply(reply: Reply) -> tuple[list[str], Counter[str]]:
    """Return the prompts of a reply that is a JSON array of strings, and count the parts that are none, by reason.

    The array can be in a block of code, or the only value of an object.
    """
    fenced = re.fullmatch(r"\s*```\w*\n(.*?)\n?```\s*", reply.content, re.DOTALL)
    try:
        items = from_json(fenced[1] if fenced else reply.content)
    except ValueError:
        reason = "a reply cut off at max_tokens" if reply.finish_reason == "length" else "a reply that is not JSON"
        return [], Counter([reason])
    if isinstance(items, dict) and len(items) == 1:
        items = next(iter(items.values()))
    if not isinstance(items, list) or not items:
        return [], Counter(["a reply that is not a list of prompts"])
    texts = [item.strip() for item in items if isinstance(item, str) and item.strip()]
    return texts, +Counter({"an entry that is not text": len(items) - len(texts)})
