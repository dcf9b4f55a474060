"""What a machine runs out of, told from the errors that libraries raise of it."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator

import torch

from rsidiff_kedro.errors import InputError

GO_ON = "what is finished is kept, and the same command with --only-missing-outputs goes on"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_LOWER = {
    "prompt_curation": "prompt_curation.probe.sampler.micro_batch_size or rewards.micro_batch_size",
    "synthesis": "synthesis.sampler.micro_batch_size",
    "preference_selection": "rewards.micro_batch_size",
    "weighting": "rewards.micro_batch_size",
    "finetune": "finetune.micro_batch_size, or set finetune.gradient_checkpointing=true",
    "base_model": "batch_size of the training in base_model",
    "evaluation": "sampler.micro_batch_size or rewards.micro_batch_size",
    "sft": "finetune.micro_batch_size or sampler.micro_batch_size, or set finetune.gradient_checkpointing=true",
}
"""What takes memory, by the stage that it runs out in."""


class OutOfMemory(InputError):
    """A step needs more memory than the machine, or the limit that it runs under, has."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory, of the host or of a GPU, did not suffice."""
    said = ("can't allocate memory", os.strerror(errno.ENOMEM))
    return any(
        isinstance(each, torch.OutOfMemoryError | MemoryError) or any(text in str(each) for text in said)
        for each in causes(error)
    )


def out_of_memory(step: str, stages: set[str]) -> OutOfMemory:
    """The error to raise for a step, which says what to lower."""
    lower = "; or ".join(_LOWER[stage] for stage in sorted(stages & _LOWER.keys())) or "micro_batch_size"
    return OutOfMemory(
        f"memory does not suffice for {step}; lower {lower}, or model.resolution, and go on with "
        "--only-missing-outputs: steps that read what was changed are made again, all others are kept"
    )


def disk_fault(error: BaseException) -> str | None:
    """What to do if a disk is full or must not be written; None if that is not the reason."""
    for each in causes(error):
        number = each.errno if isinstance(each, OSError) else None
        if number in _FULL or any(os.strerror(code) in str(each) for code in _FULL):
            return f"the disk is full ({each}); free some (`kedro rsi runs` shows what runs take): {GO_ON}"
        if number in _REFUSED or os.strerror(errno.EROFS) in str(each):
            return f"a file cannot be written ({each}); make the folder writable: {GO_ON}"
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def exit_on_termination() -> None:
    """Let SIGTERM end the process as an exit does, so that all books are closed; a handler of somebody else stays."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
