"""One case of bad input, and what it is given to set itself up."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

RUN = ("run", "--env=test", "--pipelines=rsi")
"""Every run of the whole method is on the shrunken parameters of conf/test."""


@dataclass(frozen=True)
class Materials:
    """What is sound, made once: to be copied and then damaged.

    Attributes:
        model: a small random Stable Diffusion, as `save_pretrained` writes it.
        other_family: a small random Stable Diffusion XL.
        rewards: preference models in the official formats: hpsv2_1, image_reward, clip, aesthetic and tokenizers.
        make_finished: makes the data of a run of one round under conf/test; gives its folder.
    """

    model: Path
    other_family: Path
    rewards: Path
    make_finished: Callable[[], Path]

    @cached_property
    def finished(self) -> Path:
        """`data/test` of a finished run, made when it is first asked for."""
        return self.make_finished()


@dataclass(frozen=True)
class Place:
    """Where a case sets itself up.

    Attributes:
        project: the project's folder, the working directory of the command.
        materials: see `Materials`.
    """

    project: Path
    materials: Materials

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the project."""
        path = self.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def copy(self, source: Path, name: str) -> Path:
        """Copy a sound folder into the project."""
        return shutil.copytree(source, self.project / name)

    def without_tracking(self) -> None:
        """Have MLflow record nothing: making its store takes seconds."""
        self.write("conf/test/mlflow.yml", "tracking: {enabled: false}\n")

    def finish_a_run(self) -> Path:
        """Put the data of a finished run into the project; gives data/test."""
        return self.copy(self.materials.finished, "data/test")


SetUp = Callable[[Place], None]


def nothing(place: Place) -> None:
    """The project is as it should be: the arguments are wrong."""


@dataclass(frozen=True)
class Case:
    """Bad input, and what is said of it.

    Attributes:
        subject: what the input is.
        wrong: what is wrong, in the table's words.
        says: what the message holds.
        arguments: of `kedro`.
        set_up: what of the project is damaged first.
        process: whether it is run as a process of its own too.
        late: whether it is found by the node that reads it, after others have run, and not before the first.
        environment: further environment variables and their values.
    """

    subject: str
    wrong: str
    says: str
    arguments: tuple[str, ...]
    set_up: SetUp = nothing
    process: bool = False
    late: bool = False
    environment: tuple[tuple[str, str], ...] = ()


def with_params(*params: str) -> tuple[str, ...]:
    """The arguments of a run of the whole method with these parameters."""
    last = {param.partition("=")[0]: param for param in params}
    return (*RUN, f"--params={','.join(last.values())}")
