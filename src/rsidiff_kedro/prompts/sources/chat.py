"""Find the prompts in the replies of a chat endpoint, and keep replies in a folder."""

import hashlib
import json
import re
from collections import Counter
from itertools import chain, groupby, pairwise
from operator import or_
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field
from pydantic_core import from_json

from rsidiff_kedro.core.files import replacing
from rsidiff_kedro.prompts.characters import UNSPACED
from rsidiff_kedro.prompts.sources.source import PromptSourceError


class Reply(BaseModel, frozen=True):
    """A reply of the endpoint.

    Attributes:
        finish_reason: "stop", or such as "length" or "max_tokens" if the reply was cut off.
        tokens: of request and reply together, as the endpoint counts them; None if it does not say.
    """

    content: str
    finish_reason: str
    tokens: int | None = Field(ge=0)


_NAME = r"(?:\w+:)?(?:think|thinking|reasoning|reasoning_content|thought|thoughts|analysis|reflection)"
_START = (
    rf"(?:<{_NAME}(?:\s[^<>]*)?>|\[THINK(?:ING)?\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>"
    r"|<\|channel\|>\s*(?:analysis|commentary)\b)"
)
_END = (
    rf"(?:</{_NAME}>|\[/THINK(?:ING)?\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>"
    r"|<\|channel\|>\s*final\b[^\n]{0,99}?<\|message\|>)"
)
_THOUGHT = re.compile(rf"^.*{_END}", re.DOTALL | re.IGNORECASE)
"""A model's thoughts, up to the last end of them; some servers leave out their beginning."""
_MARK = re.compile(rf"(?P<start>{_START})|{_END}", re.IGNORECASE)
_UNFINISHED = re.compile(rf"^\s*(?:<\|start\|>\s*assistant\s*)?{_START}.*", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
"""A block of code; the last may lack its end."""
_CUTS = re.compile("length|max", re.IGNORECASE)
"""Reasons to end that mean a limit: length, model_length, max_tokens, MAX_TOKENS."""
_SPACE = re.compile(r"\s*")
_BRACKET = re.compile(r"[\[{]")
_LOOKS_LIKE_LIST = re.compile(r"\[\s*(?:[\"{]|//)")
_MOST_EFFORT, _CHARACTERS = 100, 10_000
"""Places of a reply that are tried in vain as the beginning of JSON; this many characters count as a further place."""
_DECODER = json.JSONDecoder()
_NUMBERED = re.compile(r"(?:prompt)?[ _-]?\d+", re.IGNORECASE)
_ENDS_NUMBER, _QUOTES = r"[.):\]\u3001\uff09\u3011\uff0e\uff1a]", r"\u201c\uff08\u3008\u300a\u300c\u300e\u3010"
_ENTRY_NUMBER = re.compile(
    r"(\*\*|__)?[(\[\uff08\u3010]?(?:prompt\s*)?#?(?P<number>\d{1,3})"
    rf"(?:(?:(?(1)\1)\s*{_ENDS_NUMBER}|\s*{_ENDS_NUMBER}(?(1)\1))"
    rf"(?:\s+|(?=[{UNSPACED}{_QUOTES}])|(?<=[\uff09\u3011])|(?<=[\u3001\uff0e\uff1a])(?!\d))"
    r"|(?(1)\1)\s*[-\u2013\u2014]\s+(?!\d))",
    re.IGNORECASE,
)
"""The number before a text, which can be bold alone; a hyphen before a further number is a score or a range.

No space need follow it before a script without spaces, or after a sign that is as wide as these scripts' characters.
"""
_BOLD = re.compile(r"(\*\*|__)((?:(?!\1).)+)\1", re.DOTALL)
_NAMES = ("prompt", "positive_prompt", "positive")
_LONG_NAMES = ("text", "caption", "description")
"""Names of the prompt where none of the others is there, in this order; the last may also say what a prompt is for."""
_TITLE = 3
"""Words of a text that can be a title, or words in the image, beside the prompt under another of those names."""
_OWN_NAMES = {"prompt", "positive_prompt", "positive", "caption"}
"""Names of a text that make an object a prompt, whatever lists it also has."""
_ABOUT = {"tags", "tag", "keywords", "labels", "styles", "categories", "topics", "themes", "colors", "objects", "notes"}
"""Names of lists that tell about prompts and hold none."""
_NO_PROMPT = {
    "negative",
    "negative_prompt",
    "error",
    "message",
    "detail",
    "details",
    "reason",
    "refusal",
    "status",
    "topic",
    "category",
    "theme",
}
"""Names of texts with which a model or a server says that it gives no prompt, or what its prompts are about."""


def is_openai(endpoint: str) -> bool:
    """Tell OpenAI's own endpoint, in any region, from a compatible one."""
    return f".{urlsplit(endpoint).hostname}".endswith(".api.openai.com")


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


_CLOSING = ("]", "}")
_EMPTY, _CUT, _UNENDED = "an empty reply", "a reply cut off at max_tokens", "a reply that ends within its JSON"
_NOT_JSON = "a list that is not JSON"


def parse_reply(reply: Reply) -> tuple[list[str], Counter[str]]:
    """Return the prompts of a reply that holds a JSON array, and count the parts that are none, by reason.

    What a reasoning model thinks is left out. The array can stand in a block of code or between sentences, and be the
    only list of an object. It holds texts, or objects with one text each or a text named `prompt`, `positive_prompt`,
    `text`, `caption` or `description`, or objects with a list of these under `prompts`. Arrays with nothing but space
    between them are one. Of other arrays, and of objects that each are a prompt, the last counts that is no note; a
    note has less than half of the entries, or of the words per entry, of another one. Blocks of code count before what
    is outside of them, unless an array after the last block is as long as theirs. Numbers before the texts go.
    """
    cut = _CUTS.search(reply.finish_reason) is not None
    if cut and not reply.content.rstrip(" \t\r\n`").endswith(_CLOSING):  # before the cut only drafts can have ended
        return [], Counter([_CUT])
    if not reply.content.strip():
        return [], Counter([_EMPTY])
    values, unread = _json_values(reply.content)
    lists = [_without_groups(items) for items in _lists(values)]
    if not lists:
        if values:
            return [], Counter(["a reply that is not a list of prompts"])
        return [], Counter([_CUT if cut else unread[0] if unread else "a reply that is not JSON"])
    read = [[text.strip() for item in items if (text := _text(item)) and text.strip()] for items in lists]
    chosen = _choose(read)
    others = sum(map(len, read)) - len(read[chosen])
    no_text = len(lists[chosen]) - len(read[chosen])
    counts = Counter({"an entry that is not text": no_text, "an entry of a further list": others})
    return _without_marks(read[chosen]), +(counts + Counter(unread))


def _without_marks(texts: list[str]) -> list[str]:
    """Return prompts without the numbers and the stars of bold type around them, if all of them have these."""
    return _without_bold(_without_numbers(_without_bold(texts)))


def _without_bold(texts: list[str]) -> list[str]:
    plain = [str(found[2]).strip() for text in texts if (found := _BOLD.fullmatch(text))]
    return plain if len(plain) == len(texts) else texts


def _without_numbers(texts: list[str]) -> list[str]:
    """Remove the numbers before texts that all have one, and the next; groups can each begin with the first one."""
    starts = [found for text in texts if (found := _ENTRY_NUMBER.match(text))]
    numbers = [int(each["number"]) for each in starts]
    follows = [number == before + 1 for before, number in pairwise(numbers)]
    restarts = [number == numbers[0] for number in numbers[1:]]
    if len(numbers) < len(texts) or not any(follows) or not all(map(or_, follows, restarts)):
        return texts
    rest = [each.string[each.end() :] for each in starts]
    return rest if all(rest) else texts


def _choose(lists: list[list[str]]) -> int:
    """Return the number of the last list that is about as long as the longest one, and about as wordy as any such."""
    most = max(map(len, lists))
    long = [number for number, texts in enumerate(lists) if texts and len(texts) * 2 >= most]
    words = {number: sum(len(text.split()) for text in lists[number]) / len(lists[number]) for number in long}
    return max((number for number in long if words[number] * 2 >= max(words.values())), default=0)


def _lists(values: list[Any]) -> list[list[Any]]:
    """Return the lists among the JSON values of a reply, in order; objects of one text in a row are a list too.

    Objects whose text has no name that tells it is a prompt come first, so that they count only without other lists.
    """
    lists: list[list[Any]] = []
    for is_list, group in groupby(values, lambda value: _items(value) is not None):
        if is_list:
            for value in group:
                lists += [items for items in (*_further(value), _items(value)) if items]
        elif objects := [value for value in group if isinstance(value, dict) and _text(value)]:
            named = any(str(key).lower() in _NAMES + _LONG_NAMES for value in objects for key in value)
            alone = not named and len(objects) == len(values) == 1  # one text under any name is more likely a refusal
            if not alone:
                lists.insert(len(lists) if named else 0, objects)
    return lists


def _without_groups(items: list[Any]) -> list[Any]:
    """Put the prompts of each object with a list under `prompts`, such as a topic's, in place of the object."""
    entries = []
    for item in items:
        group = _group(item)
        entries += group if isinstance(group, list) else [item]
    return entries


def _group(item: Any) -> Any:
    """Return what an object has under `prompts`; its other texts say what these are about."""
    named = item.items() if isinstance(item, dict) else ()
    return next((value for name, value in named if str(name).lower() == "prompts"), None)


def _json_values(content: str) -> tuple[list[Any], list[str]]:
    """Return the JSON of a reply, with the lists that count last at the end, and what of it cannot be read."""
    answer = _UNFINISHED.sub("", _THOUGHT.sub("", content))
    if not _BRACKET.search(answer):
        answer = _without_thoughts(content) or answer
    for text in (content, answer):
        if (values := _parse_all(text)) is not None:
            return values, []
    blocks = [text for text in _FENCE.findall(answer) if text.lstrip().startswith(("[", "{"))]
    read = [_parse_all(text) for text in blocks]
    if not any(read):
        return _find_json(answer)
    if read[-1] is None:  # the blocks before it are drafts
        return [], ["a last block of code that is not JSON"]
    *before, after = _FENCE.split(answer)[::2]
    outside, unread = _find_json("\n".join(before))
    following, more_unread = _find_json(after)
    in_blocks = [value for values in read for value in values or ()]
    if max(map(_length, following), default=0) >= max(map(_length, in_blocks)):
        return [*outside, *in_blocks, *following], unread + more_unread
    return [*outside, *following, *in_blocks], unread + more_unread


def _without_thoughts(content: str) -> str:
    """Return what stands around a reply's thoughts, as where they follow the answer; "" if a mark lacks its partner."""
    kept, place, within = [], 0, False
    for mark in _MARK.finditer(content):
        if within == (mark["start"] is not None):
            return ""
        if not within:
            kept.append(content[place : mark.start()])
        place, within = mark.end(), not within
    return "" if within else "".join([*kept, content[place:]])


def _length(value: Any) -> int:
    """Return how many entries a JSON value has that may be prompts."""
    return len(_items(value) or ())


def _find_json(text: str) -> tuple[list[Any], list[str]]:
    """Return the JSON between the sentences of a text, and what looks like a list and is none; none if it is cut."""
    values, unread = [], []
    end = effort = 0
    for start in _BRACKET.finditer(text):
        if start.start() < end or effort >= _MOST_EFFORT:
            continue
        try:
            _, end = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError) as error:
            place = getattr(error, "pos", len(text))
            effort += 1 + (place - start.start()) // _CHARACTERS
            if isinstance(error, json.JSONDecodeError) and _ends_within(error, text):
                return [], [_UNENDED]
            unread += [_NOT_JSON] * (_LOOKS_LIKE_LIST.match(text, start.start()) is not None)
            continue
        value = _parse(text[start.start() : end])
        if value is not None:
            values.append(value)
    return values, unread


def _ends_within(error: json.JSONDecodeError, text: str) -> bool:
    """Tell whether JSON ends too early because the text does."""
    return error.pos >= len(text.rstrip()) > 1 or error.msg.startswith("Unterminated string")


def _parse_all(text: str) -> list[Any] | None:
    """Return the JSON values of a text that holds nothing else, with its lists joined to one; None if it has more."""
    if (value := _parse(text)) is not None:
        return [value]
    values: list[Any] = []
    place = _after_space(text, 0)
    while place < len(text):
        try:
            _, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        values.append(_parse(text[place:end]))
        place = _after_space(text, end)
    if all(isinstance(value, list) for value in values):
        return [list(chain(*values))] if values else None
    return values if all(isinstance(value, dict) for value in values) else None


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _parse(text: str) -> Any:
    """Return the value of a JSON text, None if it is none."""
    try:
        from_json(text)  # stricter: no lone surrogates, and no depth that ends in a RecursionError
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """Return a JSON object; one whose names repeat, as some models write lists, is a list of objects."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else [{name: value} for name, value in pairs]


def _items(value: Any) -> list[Any] | None:
    """Return the list that a JSON value is, or holds under `prompts`, as its only list, or as numbered texts."""
    if isinstance(value, dict):
        inner = [each for each in value.values() if isinstance(each, dict | list)]
        if len(inner) == len(value) == 1 and isinstance(inner[0], dict):
            return _items(inner[0])
        if len(value) > 1 and all(_NUMBERED.fullmatch(str(name)) for name in value):
            return list(value.values())
        return _only_list({str(name).lower(): each for name, each in value.items()})
    return value if isinstance(value, list) else None


def _further(value: Any) -> list[list[Any]]:
    """Return the lists beside an object's `prompts` with such a name, as `more_prompts` is; no negative ones."""
    named = {str(name).lower(): each for name, each in value.items()} if isinstance(value, dict) else {}
    is_beside = isinstance(named.get("prompts"), list)
    lists = [(name, each) for name, each in named.items() if is_beside and isinstance(each, list)]
    return [each for name, each in lists if name.endswith("_prompts") and "negative" not in name]


def _only_list(named: dict[str, Any]) -> list[Any] | None:
    """Return the list of an object that is named `prompts`, or its only one; None if it is a prompt, or has more."""
    if any(isinstance(named.get(name), str) for name in _OWN_NAMES):
        return None
    if "prompts" in named:
        return named["prompts"] if isinstance(named["prompts"], list) else None
    lists = [each for name, each in named.items() if isinstance(each, list) and name not in _ABOUT]
    return lists[0] if len(lists) == 1 else None


def _text(item: Any) -> str | None:
    """Return the prompt that an entry of a list is or holds."""
    if isinstance(item, str):
        return item
    if not isinstance(item, dict) or "prompts" in map(str.lower, item):
        return None
    texts = {str(key).lower(): value for key, value in item.items() if isinstance(value, str)}
    others = [texts[name] for name in _LONG_NAMES if name in texts]
    longest = max(others, key=len, default=None)
    long = next((each for each in others if len(each.split()) > _TITLE), longest)
    named = next((texts[name] for name in _NAMES if name in texts), long)
    if named is not None:
        return named
    holds_more = any(isinstance(value, dict | list) for value in item.values())  # such as the prompts of a topic
    return None if holds_more or len(texts) != 1 or texts.keys() & _NO_PROMPT else next(iter(texts.values()))
