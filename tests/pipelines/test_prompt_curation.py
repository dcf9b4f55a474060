"""Prompt curation through Kedro, with prompts for evaluation from a source of their own."""

import json
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog

from rsidiff_kedro.hooks.runner import RsiRunner
from rsidiff_kedro.scenes.world.grammar import COLORS, SHAPES


@pytest.fixture
def catalog(project: Path) -> DataCatalog:
    """Return the catalog after prompt curation of a file and a folder of lists, one prompt being in both."""
    training = [f"a {color} {shape} on a white background" for color in COLORS for shape in SHAPES]
    (project / "prompts.txt").write_text("\n".join([*training, "a red circle on black"]))
    (project / "benchmark").mkdir()
    for style, time in (("anime", "on black"), ("photo", "on brown")):
        prompts = [f"a {color} circle {time}" for color in COLORS]
        (project / "benchmark" / f"{style}.json").write_text(json.dumps(prompts))
    curation = {
        "source": {"kind": "file", "path": "prompts.txt"},
        "evaluation_source": {"kind": "file", "path": "benchmark"},
        "diversity": "text_encoder",
    }
    parameters = {"prompt_curation": curation, "evaluation": {"judge": None}}
    with KedroSession.create(project, env="test", runtime_params=parameters) as session:
        session.run(pipeline_names=["prompt_curation"], runner=RsiRunner())
    with KedroSession.create(project, env="test", runtime_params=parameters) as session:
        return session.load_context().catalog


def test_each_source_gives_the_prompts_of_its_part(catalog: DataCatalog) -> None:
    tests, pool = catalog.load("test_prompts"), catalog.load("prompt_pool")
    assert tests["category"].value_counts().to_dict() == {"anime": 3, "photo": 3}
    assert catalog.load("validation_prompts")["category"].value_counts().to_dict() == {"anime": 2, "photo": 2}
    assert pool["text"].str.endswith("on a white background").all() and len(pool) == 12
    rejected = catalog.load("rejected_prompts").set_index("text")
    assert rejected.at["a red circle on black", "rule"] == "near_duplicate_of_evaluation"
    assert "other prompts cover its embedding" in set(rejected["detail"])
