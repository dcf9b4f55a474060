"""The two tokenizers of preference models, from a local folder or the hub, checked to be those of their networks."""

import os
from pathlib import Path
from typing import Any

from transformers import BertTokenizerFast, CLIPTokenizerFast

from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.rewards.checkpoints import CheckpointError

CLIP_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
BERT_FILES = (("tokenizer.json",), ("vocab.txt",))
"""Either of these sets makes a tokenizer."""


def open_clip_tokenizer(source: str, vocabulary_size: int) -> CLIPTokenizerFast:
    """CLIP's byte-pair tokenizer.

    Raises:
        CheckpointError: it is not there, or has another vocabulary than the network.
    """
    return _checked(_open(CLIPTokenizerFast, source, CLIP_FILES), source, vocabulary_size)


def open_bert_tokenizer(source: str, vocabulary_size: int) -> BertTokenizerFast:
    """BERT's word-piece tokenizer with the two tokens that BLIP adds to it; same errors as `open_clip_tokenizer`."""
    tokenizer = _open(BertTokenizerFast, source, BERT_FILES)
    tokenizer.add_tokens(["[DEC]", "[ENC]"], special_tokens=True)
    return _checked(tokenizer, source, vocabulary_size)


def _open(kind: Any, source: str, files: tuple[tuple[str, ...], ...]) -> Any:
    folder = Path(os.path.expanduser(source))
    needed = " or ".join(" and ".join(names) for names in files)
    # An incomplete folder must not come so far: transformers makes an empty vocabulary of it.
    if os.path.isdir(folder):
        if not any(all((folder / name).is_file() for name in names) for names in files):
            raise CheckpointError(f"the tokenizer's folder {source!r} has no {needed}; save the tokenizer again")
    elif source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise CheckpointError(
            f"there is no tokenizer {source!r}; give a folder with {needed}, or a Hugging Face id (owner/name)"
        )

    def refuse(error: Exception) -> CheckpointError:
        return CheckpointError(
            f"the tokenizer {source!r} cannot be opened ({type(error).__name__}: {reason(error, 120)}); "
            f"give a folder with {needed}, or check the id, HF_HUB_OFFLINE and the network"
        )

    with loading(refuse):
        return kind.from_pretrained(str(folder) if folder.is_dir() else source, trust_remote_code=False)


def _checked(tokenizer: Any, source: str, vocabulary_size: int) -> Any:
    if len(tokenizer) != vocabulary_size:
        raise CheckpointError(
            f"the tokenizer {source!r} has {len(tokenizer)} entries, but its network reads {vocabulary_size}; "
            "give the tokenizer that belongs to the checkpoint"
        )
    return tokenizer
