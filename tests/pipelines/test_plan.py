"""What a run needs is estimated before it starts."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from rsidiff_kedro.diffusion import footprint
from rsidiff_kedro.diffusion.footprint import fetch_configs
from rsidiff_kedro.diffusion.timing import Speed
from rsidiff_kedro.hooks.configuration import open_configuration
from rsidiff_kedro.parameters import Parameters, parse_parameters
from rsidiff_kedro.pipelines import plan, stages
from rsidiff_kedro.pipelines.plan import count_images, held_bytes, plan_lines, run_seconds
from rsidiff_kedro.prompts.sources.template import TemplateSource


def parameters(**changes: object) -> Parameters:
    return parse_parameters(open_configuration("test", changes)[1]["parameters"])


def test_images_are_counted(project: Path) -> None:
    counts = count_images(parameters())
    # probed: of 24 candidates; generated: 6 prompts, twice, in 2 rounds; evaluated: 6 and 4 prompts, twice, 3 rounds
    assert (counts.probed, counts.generated, counts.evaluated) == (24, 24, 60)
    assert counts.images == 108


def test_prompts_that_evaluate_are_not_probed(project: Path, tmp_path: Path) -> None:
    source = TemplateSource(templates=("{x}",), words={"x": tuple("abcdefghijklmnopqrst")}, count=20)
    settings = parameters()
    curation = settings.prompt_curation.model_copy(update={"source": source})
    assert count_images(settings.model_copy(update={"prompt_curation": curation})).probed == 20 - 6 - 4
    apart = curation.model_copy(update={"evaluation_source": source})
    assert count_images(settings.model_copy(update={"prompt_curation": apart})).probed == 20


def test_the_denoiser_is_the_one_that_its_family_names(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = SimpleNamespace(denoiser_name="painter", quantizable=lambda model: ())
    monkeypatch.setattr(plan, "family_of", lambda model: family)
    monkeypatch.setattr(plan.footprint, "component_parameters", lambda *_: {"painter": 1000, "vae": 10})
    monkeypatch.setattr(plan, "trained_parameters", lambda *_: 1000)
    assert held_bytes(parameters(), project)["finetune"] == 1000 * 4 + 1000 * footprint.OPTIMIZER_BYTES


def test_time_follows_steps_and_rounds(project: Path) -> None:
    steps = 24 * 2 + (24 + 60) * 3
    assert run_seconds(parameters(), Speed(1.0, 0.0, 0.0)) == steps
    assert run_seconds(parameters(), Speed(0.0, 1.0, 0.0)) == 108
    assert run_seconds(parameters(), Speed(0.0, 0.0, 1.0)) == 2 * 3 * 4
    assert run_seconds(parameters(rounds=4), Speed(0.0, 0.0, 1.0)) == 4 * 3 * 4


def test_early_dropping_saves_the_steps_of_half_of_the_samples(project: Path) -> None:
    sampler = {"num_inference_steps": 6, "guidance_scale": 2.0, "micro_batch_size": 8}
    synthesis = {"sampler": sampler, "early_dropping": {"after": 2, "reward": "proxy"}}
    without = run_seconds(parameters(synthesis={"sampler": sampler}), Speed(1.0, 0.0, 0.0))
    assert run_seconds(parameters(synthesis=synthesis), Speed(1.0, 0.0, 0.0)) == without - 24 / 2 * 4


def test_early_dropping_holds_its_reward_beside_the_model(project: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "HPS_v2.1_compressed.pt"
    with checkpoint.open("wb") as file:
        file.truncate(2_000_000)
    sampler = {"num_inference_steps": 6, "guidance_scale": 2.0, "micro_batch_size": 8}
    rewards = {"hpsv2": {"checkpoint": str(checkpoint)}}
    off, on = (
        parameters(rewards=rewards, synthesis={"sampler": sampler, "early_dropping": dropping})
        for dropping in (None, {"after": 2, "reward": "hpsv2_1"})
    )
    folder = fetch_configs(off.model)
    model = held_bytes(off, folder)["synthesis, gate, evaluation"]
    held = held_bytes(on, folder)
    assert (held["synthesis"], held["gate, evaluation"]) == (model + 2_000_000, model)
    assert held["scoring by hpsv2_1"] == 2_000_000


def test_what_to_lower_in_synthesis_names_early_dropping() -> None:
    (synthesis,) = [stage for stage in stages() if stage.name == "synthesis"]
    assert "set synthesis.early_dropping=null" in synthesis.lower


@pytest.mark.parametrize(
    ("speed", "said"),
    [(None, "Time: `kedro rsi plan` measures it"), (Speed(0.0, 0.0, 60.0), "Time: about 24 min 00 s of")],
)
def test_three_lines_say_it(project: Path, speed: Speed | None, said: str) -> None:
    settings = parameters()
    lines = plan_lines(settings, fetch_configs(settings.model), project / "data", speed)
    assert len(lines) == 3
    assert (
        lines[0].startswith("Plan: 2 rounds on ") and "108 images of 32 pixels per side, 6 training steps" in lines[0]
    )
    assert "free. Memory: " in lines[1] and lines[2].startswith(said)
