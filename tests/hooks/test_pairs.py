"""A part of the pipeline pairs no images with those of an earlier run that were made differently."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from PIL import Image

from rsidiff_kedro.hooks.pairs import SHIPPED, comparable
from rsidiff_kedro.hooks.session import RsiSession
from rsidiff_kedro.provenance.records import Record, Records, changed_names

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
    joined = r"would join test_prompts with rsi.round_{}.\w+, which was made of other content"
    with pytest.raises(click.ClickException, match=joined.format(0)):
        run(project, other, namespaces=[EVALUATION])
    assert made(project) == before
    run(project, other, namespaces=["rsi.round_0"], only_missing_outputs=True)
    with pytest.raises(
        click.ClickException, match=r"rsi.round_\d.test_images .* its prompts differ: \d of 6 are shared"
    ):
        run(project, other, node_names=[f"{EVALUATION}.measure"])
    run(project, other, namespaces=[EVALUATION])
    with pytest.raises(click.ClickException, match=joined.format(1)):
        run(project, other, pipeline_names=["report"])


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (("o/m (aaaa)", None), ("o/m (aaaa)", "aaaa"), []),
        (("models/sd (12ab)", None), ("/elsewhere/sd (12ab)", None), []),
        (("o/m (aaaa)", None), ("o/m (bbbb)", None), ["model.base"]),
        (("o/m", None), ("o/m", "aaaa"), ["model.revision"]),  # whose commit nobody knows
        (("o/m", None), ("o/m (aaaa)", None), []),
        (("o/m", None), ("o/n (aaaa)", None), ["model.base"]),
        (("scenes (12ab)", None), ("scenes (12ab)", None), []),
        (("scenes (12ab)", None), ("scenes (34cd)", None), ["model.base"]),  # of a package that was upgraded
        (("scenes", None), ("scenes (12ab)", None), []),
        (("scenes", None), ("scenes_sd3 (12ab)", None), ["model.base"]),
    ],
)
@pytest.mark.parametrize("networks", ["same", "other"])
def test_a_base_model_counts_by_its_content(
    one: tuple[str, str | None], other: tuple[str, str | None], differ: list[str], networks: str
) -> None:
    given = [{"model.base": base, "model.revision": commit} for base, commit in (one, other)]
    for pair in (given, given[::-1]):
        first, second = comparable(pair[0] | {SHIPPED: "same"}, pair[1] | {SHIPPED: networks})
        expected = [SHIPPED] if networks == "other" and one[0] == "scenes" else []  # all that tells it
        assert changed_names(first, second) == sorted([*expected, *differ])


def test_a_shipped_base_of_records_without_its_content_counts_by_the_networks_of_the_package(
    finished_project: Path, tmp_path: Path
) -> None:
    project = shutil.copytree(finished_project, tmp_path / "project", symlinks=True)
    records = Records(project / "data/test/lineage")
    for path in records.folder.glob("*.json"):
        text = re.sub(r'"scenes \([0-9a-f]{12}\)"', '"scenes"', path.read_text("utf-8"))
        path.unlink()
        records.write(Record.model_validate_json(text))
    (images,) = (each for each in records.all() if "rsi.round_0.validation_images" in each.outputs)
    older = images.model_copy(update={"assets": "0123456789ab"})
    records.write(older)
    (records.folder / images.file_name).unlink()
    said = (
        rf"rsi.round_0.validation_scores cannot .* in pairs: its {SHIPPED} is 0123456789ab, not {images.assets}; first"
    )
    with pytest.raises(click.ClickException, match=said):
        run(project, {}, namespaces=[GATE])
    records.write(images)
    (records.folder / older.file_name).unlink()
    before = made(project)
    run(project, {}, namespaces=[GATE])
    assert {*made(project)} > {*before}
