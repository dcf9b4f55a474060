"""A reward of one's own: a function in a file in `src/`, named in `conf/local`, selects samples in a whole run."""

import os
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog
from kedro_process import KedroProcess

NAME = "my_rewards:brightness"
REWARD = '''
    """Prefer bright images."""

    import numpy as np


    def brightness(images, prompts):
        """Score an image by the mean of its pixels."""
        return [float(np.asarray(image).mean()) for image in images]
'''
GLOBALS = "extends: test\n"
PARAMETERS = f"""
    rounds: 1
    synthesis: {{samples_per_prompt: 4}}
    preference_selection:
      rewards: {{proxy: 0, "{NAME}": 1.0}}
      keep_per_prompt: 2
      max_gap: null
"""


@pytest.fixture
def catalog(project: Path, empty_store: Path) -> DataCatalog:
    """Return the catalog after `kedro run` in an empty project with a user's files."""
    shutil.copy(empty_store, project)
    (project / "src" / "my_rewards.py").write_text(textwrap.dedent(REWARD).lstrip())
    (project / "conf" / "local" / "globals.yml").write_text(GLOBALS)
    (project / "conf" / "local" / "parameters.yml").write_text(textwrap.dedent(PARAMETERS))
    with KedroProcess(project, ["run"], os.environ) as process:
        output, _ = process.communicate()
    assert process.returncode == 0, output
    with KedroSession.create(project) as session:
        return session.load_context().catalog


def test_it_selects_the_brightest_samples_and_is_reported(catalog: DataCatalog) -> None:
    images, selection = catalog.load("rsi.round_1.images"), catalog.load("rsi.round_1.selection")
    assert "proxy" not in selection
    assert selection["image_id"].tolist() == images.metadata["image_id"].tolist()
    brightness = np.array([np.asarray(image).mean() for image in images.images])
    assert selection[NAME].to_numpy() == pytest.approx(brightness, rel=1e-6)
    table = selection.assign(brightness=brightness)
    for _, samples in table.groupby("prompt_id"):
        kept = set(samples.loc[samples["kept"], "image_id"])
        assert kept == set(samples.nlargest(2, "brightness")["image_id"])
        assert len(samples) == 4
    trained = catalog.load("rsi.round_1.training_set").metadata["image_id"]
    assert set(trained) == set(table.loc[table["kept"], "image_id"])
    test_scores = catalog.load("rsi.round_1.test_scores")
    for number in (0, 1):
        metrics = catalog.load(f"rsi.round_{number}.metrics")
        assert np.isfinite(metrics[f"test/reward/{NAME}"])
    assert metrics[f"test/reward/{NAME}"] == pytest.approx(test_scores.groupby("prompt_id")[NAME].mean().mean())
    assert NAME in catalog.load("report")
