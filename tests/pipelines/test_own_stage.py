"""A new stage is one folder with a `stage`, and one line in `pipelines/__init__.py`; nothing else has to change."""

import json
import os
import re
import shutil
import textwrap
from pathlib import Path

import pytest
from kedro_process import KedroProcess

ROOT = Path(__file__).parents[2]
STAGE = '''
    """Say what a round's candidate is."""

    import logging

    from kedro.pipeline import Pipeline, node

    import rsidiff_kedro
    from rsidiff_kedro.core.adapter import Adapter
    from rsidiff_kedro.pipelines.stage import Place, Stage, bind


    def describe(candidate: Adapter, round_number: int) -> dict[str, object]:
        found = {"round": candidate.info["round"], "weights": len(candidate.weights)}
        logging.getLogger("rsidiff_kedro").info("noop %d: %s, package %s", round_number, found, rsidiff_kedro.__file__)
        return found


    def create_pipeline(round_number: int) -> Pipeline:
        return Pipeline([node(bind(describe, round_number=round_number), "candidate", "noop", name="describe")])


    stage = Stage(name="noop", place=Place.TRAINED_ROUNDS, create=create_pipeline)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """Return a copy of this project with one more stage."""
    folder = tmp_path_factory.mktemp("own_stage") / "project"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(empty_store, folder)
    pipelines = folder / "src" / "rsidiff_kedro" / "pipelines"
    (pipelines / "noop").mkdir()
    (pipelines / "noop" / "__init__.py").write_text(textwrap.dedent(STAGE))
    listed = (pipelines / "__init__.py").read_text()
    before = '    "rsidiff_kedro.pipelines.gate",\n'
    assert before in listed
    (pipelines / "__init__.py").write_text(listed.replace(before, '    "rsidiff_kedro.pipelines.noop",\n' + before))
    return folder


def test_a_stage_in_a_folder_of_its_own_runs_in_its_rounds_and_alone(project: Path) -> None:
    first = f"import sys; sys.path.insert(0, {str(project / 'src')!r})"
    outputs = []
    for pipeline in ("rsi", "noop"):
        arguments = ["run", "--env=test", f"--pipeline={pipeline}", "--params", "rounds=1"]
        with KedroProcess(project, arguments, os.environ, prelude=first) as process:
            outputs.append(process.communicate()[0])
        assert process.returncode == 0, outputs[-1]
    of_rsi, of_noop = outputs
    package = project / "src" / "rsidiff_kedro" / "__init__.py"
    for said in (of_rsi, of_noop):
        assert re.search(rf"noop 1: \{{'round': 1, 'weights': \d+\}}, package {re.escape(str(package))}", said)
    assert "noop 0" not in of_rsi

    records = [json.loads(path.read_text()) for path in (project / "data" / "test" / "lineage").glob("*.json")]
    versions = [record["version"] for record in records if "rsi.round_1.metrics" in record["outputs"]]
    assert len(versions) == 1  # the rest of the round ran too, and once
    described = sorted((record for record in records if "describe" in record["step"]), key=lambda each: each["version"])
    assert [record["step"] for record in described] == ["rsi.round_1.noop.describe"] * 2
    assert all(list(record["outputs"]) == ["rsi.round_1.noop"] for record in described)
    # Alone, it reads what the whole run made.
    assert [record["origins"] for record in described] == [{"rsi.round_1.candidate": versions[0]}] * 2
