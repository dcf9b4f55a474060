"""Each how-to page is followed to the letter, in a project whose shipped settings have the sizes of conf/test."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.session import KedroSession
from kedro_process import KedroProcess
from PIL import Image

from rsidiff_kedro.hooks.configuration import merge

ROOT = Path(__file__).parents[1]
HOW_TO = ROOT / "docs/how-to"
BLOCK = re.compile(
    r'^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>\w*)(?: title="(?P<file>\S+)")?\n(?P<code>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A block of code: why it is not run, its language, the file that it is, its text."""

    reason: str | None
    language: str
    file: str | None
    code: str


def blocks(page: str) -> list[Block]:
    text = (HOW_TO / page).read_text(encoding="utf-8")
    return [Block(*match.group(*Block._fields)) for match in BLOCK.finditer(text)]


def steps(code: str) -> Iterator[str]:
    """Yield each `kedro` command, and what stands between them as one script."""
    script = ""
    for line in re.sub(r"\\\n\s*", " ", code).splitlines(keepends=True):
        if line.startswith("kedro "):
            if script:
                yield script
            script = ""
            yield line
        else:
            script += line
    if script:
        yield script


def follow(page: str, project: Path) -> str:
    """Do in the project what a page says, and return what its commands print."""
    printed = ""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setattr(sys, "path", [str(project / "src"), *sys.path])
        patch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # to which Kedro adds
        patch.delenv("KEDRO_ENV", raising=False)
        for block in blocks(page):
            if block.file:
                Path(block.file).parent.mkdir(parents=True, exist_ok=True)
                Path(block.file).write_text(block.code, encoding="utf-8")
            elif not block.reason:
                printed += "".join(run(step) for step in steps(block.code))
    return printed


def run(step: str) -> str:
    """Run a script, or a command of Kedro's command line in this process, which has imported the libraries already."""
    if step.startswith("kedro "):
        words = shlex.split(step, comments=True)[1:]
        return run_apart(words) if "execution.engine=ray" in step else run_here(words)
    bash = ["bash", "-euo", "pipefail", "-c", step]
    return subprocess.run(bash, capture_output=True, text=True, encoding="utf-8", check=True).stdout


def run_here(words: list[str]) -> str:
    done = CliRunner().invoke(KedroCLI(Path.cwd()), words)
    assert done.exit_code == 0, done.output
    return done.output


def run_apart(words: list[str]) -> str:
    """Run a command in a process of its own: Ray changes the signals and the environment of its process."""
    with KedroProcess(Path.cwd(), words, os.environ) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def first(new_project: Callable[[Path], Path], empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project after the page about the first picture."""
    project = new_project(tmp_path_factory.mktemp("how_to") / "project")
    shutil.copy(empty_store, project)
    sizes = yaml.safe_load((project / "conf/test/parameters.yml").read_text(encoding="utf-8"))
    shrink(project / "conf/scenes/parameters.yml", sizes)
    sizes["prompt_curation"].pop("source")
    shrink(project / "conf/sd14/parameters.yml", sizes)
    follow("first-picture.md", project)
    return project


def shrink(path: Path, sizes: dict[str, Any]) -> None:
    """Write the sizes of conf/test into a shipped environment."""
    known = {name: value for name, value in sizes.items() if name != "base_model"}
    tree = merge(yaml.safe_load(path.read_text(encoding="utf-8")), known)
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")


@pytest.fixture
def project(first: Path, tmp_path: Path) -> Path:
    """Return a copy of the project after the first picture."""
    return shutil.copytree(first, tmp_path / "project")


def load(project: Path, name: str) -> Any:
    """Load the newest version of a dataset."""
    with KedroSession.create(project) as session:
        return session.load_context().catalog.load(name)


def test_the_first_picture_has_a_row_of_the_base_and_one_of_the_best_round(first: Path) -> None:
    picture = Image.open(first / "first.png")
    assert picture.width > 4 * 32 and picture.height > 2 * 32


def test_a_finished_run_is_continued_and_what_it_made_is_reused(project: Path) -> None:
    before = {*project.glob("data/06_models/rsi/round_1/adapter/*")}
    printed = follow("resume-and-continue.md", project)
    assert {*project.glob("data/06_models/rsi/round_1/adapter/*")} == before
    assert [*project.glob("data/06_models/rsi/round_2/adapter/*")]
    assert "2 runs" in printed


def test_prompts_of_a_csv_become_the_pool(project: Path) -> None:
    follow("my-prompts-csv.md", project)
    mine = pd.read_csv(project / "prompts.csv")
    pool = load(project, "prompt_pool")
    assert len(mine) == 96 and len(pool) == 24
    assert {*pool["text"]} <= {*mine["prompt"]} and {*pool["category"]} == {"any size", "small"}


def test_a_reward_of_ones_own_selects_and_is_reported(project: Path) -> None:
    printed = follow("my-reward.md", project)
    name = "my_rewards:brightness"
    assert name in printed
    images, selection = load(project, "rsi.round_1.images"), load(project, "rsi.round_1.selection")
    assert "proxy" not in selection
    assert selection["image_id"].tolist() == images.metadata["image_id"].tolist()
    brightness = [np.asarray(image.convert("L")).mean() for image in images.images]
    assert selection[name].to_numpy() == pytest.approx(brightness, rel=1e-6)
    for _, samples in selection.groupby("prompt_id"):
        kept = {*samples.loc[samples["kept"], "image_id"]}
        assert kept == {*samples.nlargest(2, name)["image_id"]}
    assert {*load(project, "rsi.round_1.training_set").metadata["image_id"]} == {
        *selection.loc[selection["kept"], "image_id"]
    }
    scores, metrics = load(project, "rsi.round_1.test_scores"), load(project, "rsi.round_1.metrics")
    assert metrics[f"test/reward/{name}"] == pytest.approx(scores.groupby("prompt_id")[name].mean().mean())
    assert name in load(project, "report")


def test_a_model_folder_of_ones_own_is_trained(
    project: Path, family_folder: Callable[[str], Path], reward_folder: Path
) -> None:
    shutil.copytree(family_folder("stable_diffusion"), project / "models/mine")
    for name in ("hpsv2_1", "clip_tokenizer"):
        shutil.copytree(reward_folder / name, project / "weights" / name)
    script = next(block.code for block in blocks("my-prompts-csv.md") if "> prompts.csv" in block.code)
    run(f"cd {project}\n{script}")
    printed = follow("my-model-folder.md", project)
    assert "models/mine" in printed
    (adapter,) = project.glob("data/mine/06_models/rsi/round_1/candidate/*/candidate")
    assert (adapter / "pytorch_lora_weights.safetensors").is_file()
    assert (project / "my-adapter/pytorch_lora_weights.safetensors").is_file()


def test_the_doctor_starts_ray_and_counts_the_workers(project: Path) -> None:
    pytest.importorskip("ray", reason="needs the extra `ray`: pip install 'rsidiff_kedro[ray]'")
    printed = follow("many-gpus.md", project)
    assert re.search(r"ok +workers +\d+ would start", printed), printed


@pytest.mark.parametrize("page", sorted(path.name for path in HOW_TO.glob("*.md")))
def test_every_block_of_a_page_is_a_file_a_script_or_says_why_it_is_not_run(page: str) -> None:
    found = blocks(page)
    assert found and all(block.file or block.language == "sh" for block in found)
    assert len(found) == (HOW_TO / page).read_text(encoding="utf-8").count("```") / 2
