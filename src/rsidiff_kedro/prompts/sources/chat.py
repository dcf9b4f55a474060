"""One request to a chat endpoint and its reply, and the folder in which replies are kept."""

import hashlib
import json
import os
import re
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsidiff_kedro.prompts.sources.base import PromptSourceError


@dataclass(frozen=True)
class Reply:
    """What the endpoint answered.

    Attributes:
        content: the text.
        finish_reason: why it ended: "stop", or "length" where it was cut off.
        tokens: of request and reply together, as the endpoint counts them; None if it does not say.
    """

    content: str
    finish_reason: str
    tokens: int | None


class ReplyCache:
    """Replies in a folder, a JSON file each, named by the SHA-256 of the endpoint and the request.

    The key of the API takes no part in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, endpoint: str, body: dict[str, Any]) -> Reply | None:
        """The reply to this request, or None.

        Raises:
            PromptSourceError: the file holds something else.
        """
        path = self._path(endpoint, body)
        try:
            return Reply(**json.loads(path.read_text(encoding="utf-8"))["reply"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise PromptSourceError(f"{path} is no kept reply ({error}); delete it to ask again") from None

    def put(self, endpoint: str, body: dict[str, Any], reply: Reply) -> None:
        """Keep a reply; a killed write leaves none."""
        path = self._path(endpoint, body)
        self._folder.mkdir(parents=True, exist_ok=True)
        content = {"endpoint": endpoint, "request": body, "reply": asdict(reply)}
        with tempfile.NamedTemporaryFile("w", dir=self._folder, suffix=".part", delete=False, encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
        os.replace(file.name, path)

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
            answer = client.chat.completions.create(**body)
    except openai.OpenAIError as error:
        said = " ".join(str(error).split())
        said = (said.replace(key, "***") if key else said)[:300]
        status = getattr(error, "status_code", None)
        refused = status is not None and status < 500 and status not in (408, 409, 429)
        cure = (
            "check the key, the endpoint and the model's name"
            if refused
            else f"try again later, or with more than {retries} retries"
        )
        raise PromptSourceError(
            f"{endpoint} gave no reply: {type(error).__name__}: {said}; {cure}; what it has answered so far is kept"
        ) from None
    except ValueError as error:  # the body is no JSON, which the package passes on
        raise PromptSourceError(
            f"{endpoint} answered with what is no JSON ({error}); check that it is an OpenAI-compatible chat endpoint"
        ) from None
    choices = getattr(answer, "choices", None)
    if not choices:
        raise PromptSourceError(
            f"{endpoint} does not answer as an OpenAI-compatible chat endpoint does: no 'choices' in its reply; give "
            "the address up to and with its version, such as http://localhost:8000/v1"
        )
    usage = getattr(answer, "usage", None)
    tokens = getattr(usage, "total_tokens", None)
    return Reply(choices[0].message.content or "", str(choices[0].finish_reason or "stop"), tokens)


def parse_reply(reply: Reply) -> tuple[list[str], Counter[str]]:
    """The prompts of a reply that is a JSON array of strings, and how many of its parts are none, by reason.

    The array may stand in a block of code, or in an object as its only value.
    """
    fenced = re.fullmatch(r"\s*```\w*\n(.*?)\n?```\s*", reply.content, re.DOTALL)
    try:
        items = json.loads(fenced[1] if fenced else reply.content)
    except ValueError:
        reason = "a reply cut off at max_tokens" if reply.finish_reason == "length" else "a reply that is no JSON"
        return [], Counter([reason])
    if isinstance(items, dict) and len(items) == 1:
        items = next(iter(items.values()))
    if not isinstance(items, list) or not items:
        return [], Counter(["a reply that is no list of prompts"])
    texts = [item.strip() for item in items if isinstance(item, str) and item.strip()]
    return texts, Counter({"an entry that is no text": len(items) - len(texts)} if len(texts) < len(items) else {})
