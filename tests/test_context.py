"""The context: parameters are checked before anything else, and the number of rounds reaches the registry."""

from pathlib import Path

import click
import pytest
from kedro.framework.project import pipelines, settings
from pydantic import BaseModel

from rsidiff_kedro import pipeline_registry


def registered_rounds() -> int:
    names = {name.split(".")[1] for name in pipelines["rsi"].outputs() | pipelines["rsi"].all_outputs() if "." in name}
    return max(int(name.removeprefix("round_")) for name in names)


def test_runtime_rounds_reach_the_registry(load_context) -> None:
    load_context({"rounds": 3})
    assert registered_rounds() == 3


def test_the_configured_rounds_are_the_default(load_context) -> None:
    load_context()
    assert registered_rounds() == 6


def test_an_environments_rounds_reach_the_registry(load_context) -> None:
    load_context(env="test")
    assert registered_rounds() == 2


def test_each_of_several_sessions_in_a_process_gets_its_own_rounds(load_context) -> None:
    seen = []
    for rounds in (4, 1, 2):
        load_context({"rounds": rounds})
        seen.append(registered_rounds())
    assert seen == [4, 1, 2]


def test_without_a_context_the_registry_falls_back_to_the_configured_rounds(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_registry, "_rounds", None)
    monkeypatch.setenv("KEDRO_ENV", "test")
    names = pipeline_registry.register_pipelines()["rsi"].all_outputs()
    assert "rsi.round_2.metrics" in names
    assert "rsi.round_3.metrics" not in names


def test_nodes_get_validated_settings_as_models(load_context) -> None:
    parameters = load_context().params
    assert isinstance(parameters["model"], BaseModel)
    assert isinstance(parameters["prompt_curation"]["filters"], BaseModel)


def test_a_relative_prompt_file_is_taken_from_the_projects_root(
    load_context, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "mine.txt").write_text("\n".join(f"a red circle number {n}" for n in range(30)))
    monkeypatch.chdir(tmp_path)
    source = {"kind": "file", "path": "mine.txt"}
    context = load_context({"prompt_curation": {"source": source}, "evaluation": {"judge": None}}, env="test")
    assert context.params["prompt_curation"]["source"]["path"] == project / "mine.txt"


def test_every_path_of_a_source_is_taken_from_the_projects_root(load_context, project: Path) -> None:
    (project / "mine").mkdir()
    (project / "mine" / "anime.txt").write_text("\n".join(f"a red circle number {n}" for n in range(30)))
    model = {"kind": "language_model", "endpoint": "http://127.0.0.1:9/v1", "model": "m", "api_key_variable": None}
    curation = {"source": {**model, "count": 24}, "evaluation_source": {"kind": "file", "path": "mine"}}
    context = load_context({"prompt_curation": curation, "evaluation": {"judge": None}}, env="test")
    validated = context.params["prompt_curation"]
    assert validated["source"]["cache"] == project / "data/02_intermediate/language_model_replies"
    assert validated["evaluation_source"]["path"] == project / "mine"


def test_wrong_parameters_are_a_usage_error(load_context) -> None:
    with pytest.raises(click.UsageError, match="did you mean 'rounds'"):
        load_context({"round": 3})


def test_nothing_is_reported_to_anybody(project: Path) -> None:
    assert "kedro-telemetry" in settings.DISABLE_HOOKS_FOR_PLUGINS
    assert (project / ".telemetry").read_text().strip() == "consent: false"
