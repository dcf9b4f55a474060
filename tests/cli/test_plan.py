"""`kedro rsi plan` measures how long a run would take."""

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors import SafetensorError

from rsidiff_kedro.cli import cli
from rsidiff_kedro.diffusion import timing


def test_the_time_comes_from_a_probe_that_writes_nothing(project: Path) -> None:
    result = CliRunner().invoke(cli, ["rsi", "plan", "--env=test"])
    assert result.exit_code == 0, result.output
    assert re.search(r"Time: about [\d.]+ (s|min \d\d s|h \d\d min) of generating and training; scoring", result.output)
    assert "Plan: 2 rounds on " in result.output
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("model.base=/no/such/folder", "model.base: there is no folder"),
        ("finetune.runtime=compile", "finetune.runtime is 'compile', but torch finds no C++ compiler; install g++"),
        (
            "sampler.runtime=onnxruntime,model.dtype=bfloat16",
            "sampler.runtime is 'onnxruntime', but it computes in float32 alone",
        ),
    ],
)
def test_a_model_that_cannot_be_used_so_is_said_before_the_probe(
    project: Path, monkeypatch: pytest.MonkeyPatch, params: str, said: str
) -> None:
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", lambda: {}["none"])
    monkeypatch.setattr(timing, "measure_speed", lambda *_: pytest.fail("it was measured"))
    result = CliRunner().invoke(cli, ["rsi", "plan", "--env=test", f"--params={params}"])
    assert result.exit_code == 1 and result.output.startswith(f"Error: {said}")
    assert len(result.output.splitlines()) == 1


def failing(error: Exception) -> Callable[..., None]:
    """Return a function that raises the error."""

    def fail(*_: object) -> None:
        raise error

    return fail


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB."), "memory ran out (CUDA out of"),
        (MemoryError(), "memory ran out (MemoryError); end what else uses it, or lower sampler.micro_batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory ran out (DefaultCPUAllocator"),
        (SafetensorError(f"I/O error: {FULL} (os error 28)"), "the disk is full or has no free inodes (I/O error"),
        (OSError(errno.ENOSPC, FULL, "sample.png"), "the disk is full or has no free inodes ("),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_machine_lacks_is_said_in_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    monkeypatch.setattr(timing, "measure_speed", failing(error))
    result = CliRunner().invoke(cli, ["rsi", "plan", "--env=test"])
    assert result.exit_code == 1 and result.output.startswith(f"Error: {said}")
    assert len(result.output.splitlines()) == 1 and "--only-missing-outputs" not in result.output


def test_any_other_error_keeps_its_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "measure_speed", failing(RuntimeError("a fault of the code")))
    result = CliRunner().invoke(cli, ["rsi", "plan", "--env=test"])
    assert isinstance(result.exception, RuntimeError)
