"""Find what a tokenizer lost, which still opens and returns other tokens."""

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from rsidiff_kedro.core.untrusted.pointers import is_pointer

_BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A token for a byte, of vocabularies that have one for each."""
_MARK = re.compile(r"<[^<>]*>(?:</w>)?")
_MOST_WITHOUT = 0.1
"""Share of a vocabulary of other pairs of bytes than CLIP's that no merge may make."""


_VOCABULARIES = ("vocab.json", "merges.txt", "vocab.txt", "spiece.model", "tokenizer.model")
"""Files that are read where there is no tokenizer.json."""


def pointer_in(folder: Path) -> Path | None:
    """Return the first file of a tokenizer that is a git-lfs pointer in place of what is read; else None."""
    names = ("tokenizer.json",) if (folder / "tokenizer.json").is_file() else _VOCABULARIES
    return next((folder / name for name in names if is_pointer(folder / name)), None)


def has_vocabulary(tokenizer: Any) -> bool:
    """Tell whether a tokenizer has tokens other than special ones; one that lost its files may open without."""
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    words = (token for token in tokenizer.get_vocab() if token not in special and not _MARK.fullmatch(token))
    return next(islice(words, 2, None), None) is not None


def tokens_without_merge(tokenizer: Any) -> list[str]:
    """Return those tokens of a vocabulary of byte pairs that no merge makes, so that no text ever has them.

    A merges.txt that was cut at the end of a line opens as if it were whole. In CLIP's vocabulary one merge makes every
    token of more than one byte. In others, such as Gemma's, some have no merge, and are returned only if they are many.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = json.loads(backend.to_str())["model"] if backend is not None else {}
    if model.get("type") != "BPE":
        return []
    pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model["merges"])
    made = {one + other for one, other in pairs} | tokenizer.get_added_vocab().keys()
    end = model.get("end_of_word_suffix") or ""
    longer = [token for token in model["vocab"] if len(token.removesuffix(end)) > 1 and not _BYTE.fullmatch(token)]
    without = sorted(token for token in longer if token not in made)
    return without if isinstance(tokenizer, CLIPTokenizer) or len(without) > _MOST_WITHOUT * len(longer) else []


def describe_lost_merges(tokenizer: Any) -> str:
    """Say in one line which merges a tokenizer lost; the empty text if it lost none."""
    lost = tokens_without_merge(tokenizer)
    some = ", ".join(map(repr, lost[:3])) + (", …" if len(lost) > 3 else "")
    return f"no merge makes {len(lost)} tokens of its vocabulary ({some}), as where merges.txt is cut" if lost else ""
