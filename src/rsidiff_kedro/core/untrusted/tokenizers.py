"""Find what a tokenizer lost, which still opens and returns other tokens."""

import json
from typing import Any

from transformers import CLIPTokenizer


def tokens_without_merge(tokenizer: Any) -> list[str]:
    """Return those tokens of CLIP's vocabulary that no merge makes, so that no text ever has them.

    A merges.txt that was cut at the end of a line opens as if it were whole. In CLIP's vocabulary every token of more
    than one byte is made by one merge; other kinds of tokenizers have tokens of other origins, and none is returned.
    """
    if not isinstance(tokenizer, CLIPTokenizer):
        return []
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    made = {one + other for one, other in model["merges"]} | tokenizer.get_added_vocab().keys()
    return sorted(token for token in model["vocab"] if len(token.removesuffix("</w>")) > 1 and token not in made)


def describe_lost_merges(tokenizer: Any) -> str:
    """Say in one line which merges a tokenizer lost; the empty text if it lost none."""
    lost = tokens_without_merge(tokenizer)
    some = ", ".join(map(repr, lost[:3])) + (", …" if len(lost) > 3 else "")
    return f"no merge makes {len(lost)} tokens of its vocabulary ({some}), as where merges.txt is cut" if lost else ""
