"""Say what to change where a chat endpoint rejects what a request holds."""

import re
from typing import Any

CURES = {
    "seed": "set seed: null in the source to leave it out",
    "temperature": "change temperature in the source, or set temperature: null to leave it out",
    "max_tokens": "set max_completion_tokens in its place, or max_tokens: null to leave it out",
    "max_completion_tokens": "set max_completion_tokens: null, and max_tokens in its place",
}
"""Advice for an endpoint that rejects a field of a request."""
_LIMITS = ("max_tokens", "max_completion_tokens")
_TOO_LARGE = re.compile(
    r"too (?:large|high|big|long|many)|at most|maximum|max_model_len|exceed|less than|no more than"
    r"|not be (?:greater|larger|more)|\brange\b|<=|\u2264",
    re.IGNORECASE,
)
_NO_ROOM = re.compile(r"context[\W_]?(?:length|window|size)|max_new_tokens", re.IGNORECASE)
"""Words about a request and its reply together, which need not name a field that was sent."""
_UNKNOWN = re.compile(
    r"unsupported|not support|unknown|unrecogni|unexpected|extra|instead|not (?:allowed|permitted)|deprecated",
    re.IGNORECASE,
)
_SYSTEM_MESSAGE = re.compile(
    r"\b(?:system|developer)[\W_]+(?:role|message|prompt|instruction)|\broles?\b.{0,60}\bsystem\b"
    r"|\broles must alternate",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"\b(?:not|cannot|no|only|must|should|got|remove|invalid|unsupported|unexpected|unknown|unrecogni\w*|forbidden"
    r"|disabled|disallowed|deprecated)\b|n't\b",
    re.IGNORECASE,
)


def find_cure(status: int, text: str, words: str, body: dict[str, Any]) -> str | None:
    """Return what helps if an error tells of a field or of the system message; None if it tells of neither.

    Args:
        status: of HTTP.
        text: the whole answer, which may name the field beside its words.
        words: what it says.
        body: the request.
    """
    # llama.cpp answers 500 where a model's template takes no system message.
    with_system = body["messages"][0]["role"] == "system"
    if status in (400, 422, 500) and with_system and _SYSTEM_MESSAGE.search(words) and _REFUSED.search(words):
        return "set system_message: false in the source, which puts the instruction before the user's text"
    if status not in (400, 422):
        return None
    # Hyphens belong to names of models, such as seed-oss.
    named = next((name for name in CURES if name in body and re.search(rf"(?<![\w-]){name}(?![\w-])", text)), None)
    limit = next((name for name in _LIMITS if name in body), None)
    if limit and (_NO_ROOM.search(words) or (named == limit and _TOO_LARGE.search(words))):
        return f"set a lower {limit} in the source, and a lower prompts_per_request with it"
    if named is None:
        return None
    if named == limit and not _UNKNOWN.search(words):
        return f"it names the field {named!r}: change it in the source"
    return f"it names the field {named!r}: {CURES[named]}"
