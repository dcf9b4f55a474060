"""Open CLIP's and BERT's tokenizers from a local folder or the hub, and check that they fit their networks."""

import os
from pathlib import Path
from typing import Any

from transformers import BertTokenizerFast, CLIPTokenizerFast

from rsidiff_kedro.core.hub import hub_folder
from rsidiff_kedro.core.locations import expand, is_path
from rsidiff_kedro.core.untrusted.loading import loading, reason
from rsidiff_kedro.core.untrusted.model_configs import TOKENIZER_PATTERNS, tokenizer_leads_elsewhere
from rsidiff_kedro.core.untrusted.tokenizers import describe_lost_merges, pointer_in
from rsidiff_kedro.rewards.sources import CheckpointError, check_pointer


def open_clip_tokenizer(source: str, vocabulary_size: int, revision: str | None = None) -> CLIPTokenizerFast:
    """Open CLIP's byte-pair tokenizer from a folder, from beside a file, or from a hub id's revision (None: its main).

    Raises:
        CheckpointError: it is missing or broken, or its vocabulary is not the network's.
    """
    return _open(CLIPTokenizerFast, source, revision, ("vocab.json", "merges.txt"), vocabulary_size)


def open_bert_tokenizer(source: str, vocabulary_size: int, revision: str | None = None) -> BertTokenizerFast:
    """Open BERT's word-piece tokenizer and add BLIP's two tokens; same errors as `open_clip_tokenizer`."""
    return _open(BertTokenizerFast, source, revision, ("vocab.txt",), vocabulary_size, ["[DEC]", "[ENC]"])


def _open(
    kind: Any,
    source: str,
    revision: str | None,
    files: tuple[str, ...],
    vocabulary_size: int,
    added: list[str] | None = None,
) -> Any:
    folder = expand(source)
    folder = folder.parent if os.path.isfile(folder) else folder
    needed = f"tokenizer.json or {' and '.join(files)}"
    # transformers makes an empty vocabulary of an incomplete folder.
    if os.path.isdir(folder):
        if not any(all((folder / name).is_file() for name in names) for names in (("tokenizer.json",), files)):
            raise CheckpointError(
                f"the tokenizer's folder {str(folder)!r} has no {needed}; save the tokenizer there, or set the "
                "reward's tokenizer, such as rewards.clip_score.tokenizer, to its folder or a Hugging Face id"
            )
    elif is_path(source):
        raise CheckpointError(
            f"there is no tokenizer {source!r}; give a folder with {needed}, or a Hugging Face id (owner/name)"
        )

    def refuse(error: Exception) -> CheckpointError:
        return CheckpointError(
            f"the tokenizer {source!r} cannot be opened ({type(error).__name__}: {reason(error)}); "
            f"give a folder with {needed}, or check the id, HF_HUB_OFFLINE and the network"
        )

    with loading(refuse):
        if not folder.is_dir():
            folder = Path(hub_folder(source, revision, TOKENIZER_PATTERNS))
        check_pointer(pointer_in(folder) or folder)
        elsewhere = tokenizer_leads_elsewhere(folder)
        if elsewhere is not None:
            raise CheckpointError(elsewhere)
        tokenizer = kind.from_pretrained(folder, trust_remote_code=False)
    lost = describe_lost_merges(tokenizer)
    if lost:
        raise CheckpointError(f"the tokenizer {source!r} is not whole: {lost}; save or download it again")
    tokenizer.add_tokens(added or [], special_tokens=True)
    if len(tokenizer) != vocabulary_size:
        raise CheckpointError(
            f"the tokenizer {source!r} has {len(tokenizer)} entries, but its network reads {vocabulary_size}; "
            "give the tokenizer that belongs to the checkpoint"
        )
    return tokenizer
