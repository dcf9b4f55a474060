"""Collect prompts that a language model writes, over an OpenAI-compatible chat endpoint."""

import importlib.util
import logging
import os
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import pandas as pd
from pydantic import Field, model_validator

from rsidiff_kedro.core.files import check_writable
from rsidiff_kedro.core.locations import Location
from rsidiff_kedro.core.prompt_table import PromptCountError, prompt_id, prompt_table
from rsidiff_kedro.core.section import Text
from rsidiff_kedro.prompts.sources.chat import Reply, ReplyCache, is_openai, parse_reply
from rsidiff_kedro.prompts.sources.source import PromptSourceError, Source

logger = logging.getLogger(__name__)

INSTRUCTION = (
    "You write prompts for a text-to-image model. Each describes one picture in one English sentence of 5 to 40 words: "
    "what is in it, how the things look and stand to each other, and at times the light, the medium or the style. "
    "No two are alike, none names an artist, a brand or a living person. Answer with a JSON array of strings alone."
)
TOPICS = (
    "animals", "people at work", "portraits", "food and drink", "plants and flowers", "landscapes", "cities",
    "rooms and furniture", "vehicles", "buildings", "weather and light", "the sea", "mountains", "sports", "music",
    "machines", "everyday objects", "clothes and fabric", "fantasy creatures", "science fiction", "history",
    "abstract shapes and colors", "counts and positions of objects", "written words on things",
)  # fmt: skip
FRUITLESS = 5
"""Requests in a row that bring no new prompt, after which the model is taken to have no more."""

LONGEST_TOKEN = 8
"""Bytes per token, on average over a request and its reply, that no tokenizer exceeds; English has four to five."""


class _NotCachedError(Exception):
    """A request is not in the cache, and this pass sends none."""


class LanguageModelSource(Source):
    """Prompts of a language model, some per request, each request on one of the topics in turn.

    Every reply is kept in the cache under its request, so a rerun asks nothing again and a killed run continues.

    Attributes:
        endpoint: address of the API, up to and with its version, such as http://localhost:8000/v1.
        count: different prompts to collect.
        instruction: it has to ask for a JSON array of strings.
        system_message: False puts the instruction before the user's text, for a model that takes no system message.
        topics: each is the category of its prompts.
        temperature: None leaves it out of the request.
        max_tokens: of a reply; None leaves the limit to the endpoint.
        max_completion_tokens: the same limit under the name that newer models know; if set, sent in place of
            `max_tokens`.
        seed: "run" gives every request its own seed, from the run's; None leaves it out.
        total_tokens: of all requests and replies together, also those from the cache; no request is sent that could
            exceed it. What an endpoint does not report, or reports too low to be true, counts at its most.
        timeout: seconds that a whole reply may take.
        retries: after a busy or broken server (408, 409, 429, 5xx) or no connection, at growing intervals.
        api_key_variable: the environment variable that holds the key; None for an endpoint that needs none.
    """

    kind: Literal["language_model"] = "language_model"
    endpoint: str
    model: str
    count: int = Field(ge=1, le=1_000_000)
    instruction: str = INSTRUCTION
    system_message: bool = True
    topics: tuple[Text, ...] = Field(default=TOPICS, min_length=1)
    prompts_per_request: int = Field(default=20, ge=1, le=200)
    temperature: float | None = Field(default=1.0, ge=0, le=2)
    max_tokens: int | None = Field(default=2000, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: Literal["run"] | None = "run"
    total_tokens: int = Field(default=200_000, ge=1)
    timeout: float = Field(default=60.0, gt=0)
    retries: int = Field(default=5, ge=0, le=20)
    api_key_variable: str | None = "OPENAI_API_KEY"
    cache: Annotated[Path, Location(content=False)] = Path("data/02_intermediate/language_model_replies")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.endpoint.isprintable() or " " in self.endpoint:
            raise ValueError(f"endpoint is {self.endpoint!r}, with a space or line break in it; remove that")
        if set(self.endpoint) & set("@?#"):
            raise ValueError(
                "endpoint holds a user name, password or query, which would be recorded with the parameters; put the "
                "key into the environment variable that api_key_variable names"
            )
        try:
            address = urlsplit(self.endpoint)
            is_server = address.scheme in ("http", "https") and address.hostname and address.port != 0
        except ValueError:  # the port is not a number up to 65535
            is_server = False
        if not is_server:
            raise ValueError(f"endpoint is {self.endpoint!r}; give an address such as http://localhost:8000/v1")
        if self.api_key_variable is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", self.api_key_variable):
            # The value may be the key itself, so it is not shown.
            raise ValueError(
                "api_key_variable is not the name of an environment variable (capitals, digits and '_', 64 at most); "
                "put the key into a variable such as OPENAI_API_KEY and give that name"
            )
        most = max(self._most_tokens(self._body(number, 0)) for number in range(len(self.topics)))
        if most > self.total_tokens:
            raise ValueError(
                f"total_tokens ({self.total_tokens}) is less than one request may take ({most} with max_tokens "
                f"{self._reply_limit}); raise it or lower max_tokens"
            )
        return self

    @property
    def costs(self) -> bool:
        return True

    @property
    def expected(self) -> int:
        return self.count

    def check(self, seed: int) -> None:
        """Check cache, package, key and the network's settings; none is needed where all replies are kept."""
        try:
            self._gather(seed, ask=False)
        except _NotCachedError:
            check_writable(self.cache)  # what is paid for must be kept
            self._key()
            if importlib.util.find_spec("openai") is None:
                raise PromptSourceError(
                    "prompt_curation.source: a language model needs the package openai; pip install openai"
                ) from None
            from rsidiff_kedro.prompts.sources.endpoint import make_client

            make_client(self.timeout)

    def collect(self, seed: int) -> pd.DataFrame:
        """Return `count` different prompts in the order of their requests.

        Raises:
            PromptSourceError: the endpoint does not answer, or not with prompts; earlier replies are kept.
            PromptCountError: the limit of tokens is reached, or nothing new comes.
        """
        found, dropped = self._gather(seed, ask=True)
        if dropped:
            logger.warning("%s: not used: %s; the replies are in %s", self.model, _listed(dropped), self.cache)
        texts, topics = zip(*found.values())
        return prompt_table(texts, self.model, topics)

    def _gather(self, seed: int, ask: bool) -> tuple[dict[str, tuple[str, str]], Counter[str]]:
        """Return prompts and their topics by id, and count the entries and replies that were not used, by reason."""
        cache = ReplyCache(self.cache)
        found: dict[str, tuple[str, str]] = {}
        dropped: Counter[str] = Counter()
        used = number = fruitless = 0
        while len(found) < self.count:
            body = self._body(number, seed)
            most = self._most_tokens(body)
            if used + most > self.total_tokens or fruitless == FRUITLESS:
                raise self._too_few(len(found), used, dropped, fruitless)
            # Without a seed, requests on one topic are the same; their replies are not.
            request = body if self.seed else {**body, "run_seed": seed, "number": number}
            kept = cache.get(self.endpoint, request)
            if kept is None and not ask:
                raise _NotCachedError
            reply = kept or self._send(body, answered=number > 0)
            texts, reasons = parse_reply(reply)
            if kept is None:
                cache.put(self.endpoint, request, reply)
            used += self._used_tokens(body, reply)
            before = len(found)
            for text in texts:
                name = prompt_id(text)
                if name in found:
                    reasons["said before"] += 1
                elif len(found) < self.count:
                    found[name] = text, self.topics[number % len(self.topics)]
            dropped += reasons
            fruitless = 0 if len(found) > before else fruitless + 1
            number += 1
        return found, dropped

    def _body(self, number: int, seed: int) -> dict[str, Any]:
        """Return the request of this number; the seed makes it differ, for the model and for the cache."""
        topic = self.topics[number % len(self.topics)]
        # OpenAI's own newer models know the limit by another name than every compatible server.
        newer = is_openai(self.endpoint) or self.max_completion_tokens is not None
        options = {
            "temperature": self.temperature,
            "max_completion_tokens" if newer else "max_tokens": self._reply_limit,
            "seed": (seed * 1_000_003 + number) % 2**31 if self.seed else None,
        }
        return {
            "model": self.model,
            "messages": self._messages(f"Write {self.prompts_per_request} prompts. Topic: {topic}."),
            **{name: value for name, value in options.items() if value is not None},
        }

    def _messages(self, request: str) -> list[dict[str, str]]:
        """Return the instruction and a request as messages; an empty instruction is none."""
        if not self.instruction.strip():
            return [{"role": "user", "content": request}]
        if not self.system_message:
            return [{"role": "user", "content": f"{self.instruction}\n\n{request}"}]
        return [{"role": "system", "content": self.instruction}, {"role": "user", "content": request}]

    def _send(self, body: dict[str, Any], answered: bool) -> Reply:
        from rsidiff_kedro.prompts.sources.endpoint import send  # needs openai, an extra of the project

        return send(body, self.endpoint, self._key(), self.timeout, self.retries, answered)

    @property
    def _reply_limit(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens

    def _most_tokens(self, body: dict[str, Any]) -> int:
        """Return the most tokens of a request and its reply, as far as the reply is limited."""
        return (self._reply_limit or 0) + _request_bytes(body)

    def _used_tokens(self, body: dict[str, Any], reply: Reply) -> int:
        """Return the tokens that an endpoint reports, or the most there can be if it reports none, or too few."""
        size = _request_bytes(body) + len(reply.content.encode())
        if reply.tokens is None or reply.tokens * LONGEST_TOKEN < size:
            return max(self._most_tokens(body), size)
        return reply.tokens

    def _key(self) -> str | None:
        key = os.environ.get(self.api_key_variable) if self.api_key_variable else None
        if self.api_key_variable and not key:
            raise PromptSourceError(
                f"the environment variable {self.api_key_variable!r} with the key of {self.endpoint} is not set; set "
                "it, or set prompt_curation.source.api_key_variable=null if the endpoint needs none"
            )
        if key and not re.fullmatch(r"[!-~]+", key):  # the HTTP client's own error would show it
            raise PromptSourceError(
                f"the environment variable {self.api_key_variable!r} holds a space, a line break or another character "
                "that no key has, perhaps at its end; set it to the key alone"
            )
        return key

    def _too_few(self, found: int, used: int, dropped: Counter[str], fruitless: int) -> PromptCountError:
        why, cure = f"total_tokens is {self.total_tokens}", "raise total_tokens"
        if fruitless == FRUITLESS:
            why, cure = f"the last {FRUITLESS} replies brought nothing new", "change instruction, topics or max_tokens"
        return PromptCountError(
            f"{self.model} gave {found} of {self.count} prompts for {used} tokens, and {why} (not used: "
            f"{_listed(dropped) or 'nothing'}); {cure}, or lower count; the replies are kept in "
            f"{self.cache}: delete the newest files there to ask for these again"
        )


def _request_bytes(body: dict[str, Any]) -> int:
    """Return the bytes of a request's messages; no tokenizer makes more than one token per byte."""
    return sum(len(message["content"].encode()) for message in body["messages"])


def _listed(dropped: Counter[str]) -> str:
    return ", ".join(f"{number} x {reason}" for reason, number in sorted(dropped.items()))
