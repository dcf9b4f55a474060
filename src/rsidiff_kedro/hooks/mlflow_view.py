"""Save a view of an experiment in MLflow: the rounds of each run unfolded, its main curves, and the images by round.

MLflow keeps a shared view as a tag of the experiment, and opens it by its key in the address. Without one, its charts
come in alphabetical order, and an image is hidden below all parameters of its run.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

KEY = "rounds"
TAG = f"mlflow.sharedViewState.{KEY}"
SECTION = "Rounds"
CURVES = ("test/prompt_accuracy", "test/hallucination_rate", "test/diversity")
"""Metrics that come first, where they were measured; rewards follow."""
REWARDS = "test/reward/"
MEASURED = {"lineSmoothness": 0, "useGlobalLineSmoothing": False}
"""MLflow draws a moving average over the measured values otherwise."""
UNFOLDED = {"orderByKey": "attributes.end_time", "orderByAsc": False}
"""MLflow folds children away when it sorts by the time of creation; by their end, a run comes before its rounds."""


def save_view(client: "MlflowClient", experiment_id: str, newest: "Run") -> None:
    """Save the view, with the curves and images that the newest run has."""
    images = [item.path.rpartition("/")[2] for item in client.list_artifacts(newest.info.run_id, "images")]
    keys = sorted({name.partition("+step+")[0] for name in images})
    view = view_of(newest.data.metrics, keys)
    client.set_experiment_tag(experiment_id, TAG, json.dumps(view))


def view_of(metrics: Mapping[str, float], images: Sequence[str]) -> dict[str, Any]:
    """Return the state of MLflow's page, in the form in which it saves it."""
    ends = {f"{key}{end}" for key in metrics for end in ("_low", "_high")}
    rewards = sorted(key for key in metrics.keys() - ends if key.startswith(REWARDS))
    curves = [key for key in (*CURVES, *rewards) if not math.isnan(metrics.get(key, math.nan))]
    charts: list[dict[str, Any]] = [
        {"type": "LINE", "metricKey": key, "selectedMetricKeys": [key], "xAxisKey": "step", **MEASURED}
        for key in curves
    ]
    if images:
        charts.append({"type": "IMAGE", "imageKeys": list(images), "step": 0, "showRunParams": False})
    common = {"metricSectionId": SECTION, "runsCountToCompare": 10, "deleted": False, "isGenerated": False}
    section = {"uuid": SECTION, "name": SECTION, "display": True, "isReordered": True, "deleted": False}
    size = {"columns": 2, "cardHeight": 420}
    return {
        **UNFOLDED,
        "compareRunCharts": [{**common, "uuid": f"{SECTION} {place}", **chart} for place, chart in enumerate(charts)],
        "compareRunSections": [{**section, **size, "isGenerated": False}],
        "isAccordionReordered": True,  # sections of other metrics follow
    }
