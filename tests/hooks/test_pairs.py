"""A part of the pipeline pairs no images with those of an earlier run that were made differently."""

import json
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from rsidiff_kedro.hooks.pairs import with_base_by_content
from rsidiff_kedro.hooks.session import RsiSession

EVALUATION, GATE = "rsi.round_1.evaluation", "rsi.round_1.gate"
SEED = {"seed": 1}


@pytest.fixture(scope="module")
def project(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished project, with real pairs for `sft`: its newest datasets will not be those of its run."""
    copied = shutil.copytree(finished_project, tmp_path_factory.mktemp("pairs") / "project", symlinks=True)
    folder = copied / "pairs"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 90, 30)).save(folder / f"{number}.png")
    rows = [{"file_name": f"{number}.png", "text": "a red circle on a gray background"} for number in range(4)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return copied


def run(project: Path, params: dict[str, Any], **options: Any) -> None:
    given = {"sft": {"images": str(project / "pairs")}, **params}
    with RsiSession.create(project, env="test", runtime_params=given) as session:
        session.run(**options)


def made(project: Path) -> list[Path]:
    return sorted(path for path in (project / "data").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("namespace", "params", "said"),
    [
        (EVALUATION, SEED, r"rsi.round_0.test_images cannot .* rsi.round_1.test_images .* its seed is 0, not 1; first"),
        (GATE, SEED, "rsi.round_0.validation_scores cannot be compared with .* in pairs: its seed is 0, not 1; "),
        (EVALUATION, {"evaluation": {"samples_per_prompt": 3}}, "its evaluation.samples_per_prompt is 2, not 3; first"),
        (GATE, {"gate": {"samples_per_prompt": 3}}, "its gate.samples_per_prompt is 2, not 3; first make it"),
        ("rsi.round_2", {"gate": {"samples_per_prompt": 3}}, "round_1.validation_scores .* 2, not 3; run all rounds"),
        (EVALUATION, {"sampler": {"guidance_scale": 3.0}}, "its sampler.guidance_scale is 2.0, not 3.0; first make it"),
    ],
)
def test_images_made_with_other_settings_are_not_paired(
    project: Path, namespace: str, params: dict[str, Any], said: str
) -> None:
    before = made(project)
    with pytest.raises(click.ClickException, match=said) as error:
        run(project, params, namespaces=[namespace])
    assert "\n" not in error.value.message
    assert made(project) == before


def test_sft_is_compared_with_a_base_that_was_made_alike(project: Path) -> None:
    before = made(project)
    with pytest.raises(
        click.ClickException, match=r"rsi.round_0.test_images cannot .* sft.round_1.* its seed is 0, not 1"
    ):
        run(project, SEED, pipeline_names=["sft"])
    with pytest.raises(click.ClickException, match=r"rsi.round_0.test_scores holds no scores of the reward 'oracle'"):
        run(project, {"evaluation": {"rewards": ["proxy", "oracle"]}}, pipeline_names=["sft"])
    assert made(project) == before


def test_settings_that_change_rounding_alone_are_no_difference(project: Path) -> None:
    before = made(project)
    run(project, {"sampler": {"micro_batch_size": 4}}, namespaces=[EVALUATION])
    assert {*made(project)} > {*before}


def test_images_of_other_prompts_are_not_paired_until_the_base_has_them_too(project: Path) -> None:
    other = {"prompt_curation": {"source": {"evaluation_count": 40}}}
    run(project, other, pipeline_names=["prompt_curation"])
    before = made(project)
    with pytest.raises(
        click.ClickException, match=r"rsi.round_0.test_images .* its prompts differ: \d of 6 are shared"
    ):
        run(project, other, namespaces=[EVALUATION])
    assert made(project) == before
    run(project, other, namespaces=["rsi.round_0"], only_missing_outputs=True)
    run(project, other, namespaces=[EVALUATION])
    with pytest.raises(click.ClickException, match=r"rsi.round_2.test_\w+ cannot .* its prompts differ"):
        run(project, other, pipeline_names=["report"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("o/m (aaaa)", None), ("o/m (aaaa)", "aaaa"), True),
        (("models/sd (12ab)", None), ("/elsewhere/sd (12ab)", None), True),
        (("o/m (aaaa)", None), ("o/m (bbbb)", None), False),
        (("o/m", None), ("o/m", "aaaa"), False),  # whose commit nobody knows
        (("scenes (12ab)", None), ("scenes (12ab)", None), True),
        (("scenes (12ab)", None), ("scenes (34cd)", None), False),  # it comes with a package, which was upgraded
    ],
)
def test_a_base_model_counts_by_its_content(
    one: tuple[str, str | None], other: tuple[str, str | None], same: bool
) -> None:
    found = [with_base_by_content({"model.base": base, "model.revision": commit}) for base, commit in (one, other)]
    assert (found[0] == found[1]) is same
