"""Score with the official packages of HPSv2 and ImageReward, which run as a process in an environment of their own."""

import inspect
import json
import os
import queue
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np
from PIL import Image

from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.locations import expand
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.rewards.official_worker import LIMIT, PACKAGES, main
from rsidiff_kedro.rewards.settings import Computing
from rsidiff_kedro.rewards.sources import CONFIG_FILE, MED_CONFIG_FILE, check_source, describe, fetch

if TYPE_CHECKING:
    from rsidiff_kedro.rewards.model import PreferenceModel

BUILD = "make official-rewards"
AT_ONCE = 32
"""Images of a request."""
PATIENCE = 1800
"""Seconds that an answer may take."""
_WORKER = Path(inspect.getfile(main))


class OfficialError(InputError):
    """The official packages cannot be run, or failed; the message shows what they said."""


class OfficialReward:
    """HPSv2 or ImageReward by its official package, in float32 on the CPU and as the package likes it on a GPU.

    The process ends with this object, or with the process that made it.
    """

    def __init__(self, name: str, native: "type[PreferenceModel]", official_python: Path, **options: Any) -> None:
        """Open a model.

        Args:
            name: hpsv2_1, hpsv2_0 or image_reward.
            native: our class of the same model, which says what its files are called.
            official_python: of the environment that `make official-rewards` builds.
            options: as of the native class.

        Raises:
            CheckpointError: a file is missing, broken or of another model.
            OfficialError: the environment is missing, or its packages cannot open the model.
        """
        self.check(name, native, official_python, **options)
        checkpoint, tokenizer, revision = _sources(native, options)
        path = fetch(checkpoint, native.file_name, revision)
        beside = path.with_name(CONFIG_FILE)
        config = str(beside) if expand(checkpoint).exists() and beside.is_file() else None
        asked = {"model": name, "checkpoint": str(path), "config": config}
        if name == "image_reward":
            asked["vocabulary"] = str(fetch(_folder(tokenizer), "vocab.txt"))
            asked["med_config"] = str(fetch(_folder(checkpoint), MED_CONFIG_FILE, revision))
        else:
            asked["vocabulary"] = str(fetch(_folder(tokenizer), "merges.txt")) if asked["config"] else None
        on_gpu = Computing(device=options.get("device", "auto")).place.type == "cuda"
        asked["device"] = place = "cuda" if on_gpu else "cpu"
        self._worker = Worker(expand(official_python), name, place)
        packages = self._worker.ask(asked)["ready"]
        described = describe(checkpoint, revision, path)
        self.record = {**described, "tokenizer": tokenizer, "device": place, "official": packages}

    @classmethod
    def check(cls, name: str, native: "type[PreferenceModel]", official_python: Path, **options: Any) -> None:
        """Raise the errors of opening a model, as far as a second's check finds out."""
        section = "image_reward" if name == "image_reward" else "hpsv2"
        if options.get("antialias"):
            raise OfficialError(
                "rewards.hpsv2.antialias is true, and the official packages' environment shrinks images without; set "
                "it to false, or set rewards.hpsv2.implementation=native"
            )
        checkpoint, tokenizer, revision = _sources(native, options)
        native.check(checkpoint, tokenizer, revision)
        if name == "image_reward":
            check_source(_folder(checkpoint), MED_CONFIG_FILE, revision)
            check_source(_folder(tokenizer), "vocab.txt")
        _check_environment(expand(official_python), f"rewards.{section}.implementation")

    def score(self, images: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Return the package's scores: float32 [n]."""
        scores: list[float] = []
        for start in range(0, len(images), AT_ONCE):
            rows = range(start, min(start + AT_ONCE, len(images)))
            with tempfile.TemporaryDirectory(prefix="rsidiff_official_") as folder:
                paths = [f"{folder}/{row}.png" for row in rows]
                for row, path in zip(rows, paths):
                    images[row].save(path)
                answer = self._worker.ask({"images": paths, "prompts": [prompts[row] for row in rows]})["scores"]
            if len(answer) != len(paths):
                raise OfficialError(f"the official package returned {len(answer)} scores for {len(paths)} images")
            scores += answer
        return np.array(scores, np.float32)


class Worker:
    """A process of the official packages, which answers lines of JSON."""

    def __init__(self, python: Path, name: str, device: str) -> None:
        self._name = name
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        hidden = {} if device == "cuda" else {"CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            [str(python), "-I", str(_WORKER)],  # isolated: our `clip.py` lies beside the worker
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **hidden},
        )
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=_read_lines, args=(self._process.stdout, self._answers), daemon=True).start()
        weakref.finalize(self, _end, self._process)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; raise OfficialError, and end the process, if there is none."""
        line = json.dumps(request)
        if len(line) >= LIMIT:
            raise OfficialError(
                f"prompts of {len(line)} characters are too long for the official package; shorten them"
            )
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answers.get(timeout=PATIENCE)
        except queue.Empty:
            self._fail(f"did not answer within {PATIENCE} seconds")
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            self._fail("ended" if len(answer) < LIMIT else "answered with too long a line")
        try:
            found = json.loads(answer)
        except ValueError:
            self._fail(f"answered {answer[:80]!r}")
        if not isinstance(found, dict) or "error" in found or not {"ready", "scores"} & found.keys():
            self._fail(f"failed: {found.get('error') if isinstance(found, dict) else found}")
        return found

    def _fail(self, what: str) -> NoReturn:
        """End the process and show the end of what it said."""
        _end(self._process)
        self._said.seek(max(0, self._said.tell() - 2000))
        lines = self._said.read().decode(errors="replace").strip().splitlines()[-3:]
        said = f" (its last words: {printable(' | '.join(lines))[-400:]})" if lines else ""
        raise OfficialError(
            f"the official package of {self._name} {what}{said}; look at its images and checkpoint, build its "
            f"environment again with `{BUILD}`, or set implementation: native"
        )


def _sources(native: "type[PreferenceModel]", options: dict[str, Any]) -> tuple[str, str, str | None]:
    revision = options.get("revision")
    checkpoint, tokenizer, _ = native._sources(options.get("checkpoint"), options.get("tokenizer"), revision)
    return checkpoint, tokenizer, revision


def _folder(checkpoint: str) -> str:
    """Return the folder of a checkpoint that is a file, else the checkpoint: a folder or a Hugging Face id."""
    path = expand(checkpoint)
    return str(path.parent) if path.is_file() else checkpoint


def _check_environment(python: Path, setting: str) -> None:
    """Raise OfficialError unless the environment exists and has the packages."""
    code = f"import importlib.metadata as m; [m.version(n) for n in {PACKAGES}]"
    try:
        found = subprocess.run([str(python), "-I", "-c", code], capture_output=True, timeout=60, check=False)
        problem = found.stderr.decode(errors="replace").strip().splitlines()[-1:] if found.returncode else []
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = [str(error)]
    if problem:
        raise OfficialError(
            f"{setting} is official, and {str(python)!r} is no environment of the official packages "
            f"({printable(problem[0])[:120]}); build it with `{BUILD}`, or set {setting}=native"
        )


def _read_lines(stream: Any, answers: "queue.SimpleQueue[bytes]") -> None:
    """Pass on each line, at most `LIMIT` bytes of it, and an empty one at the end."""
    while True:
        line = stream.readline(LIMIT)
        answers.put(line)
        if not line.endswith(b"\n"):
            return


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that may have ended."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # what was not sent
                stream.close()
