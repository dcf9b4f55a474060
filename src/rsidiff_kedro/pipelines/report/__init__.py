"""Report: figures, gallery, categories and summary of all rounds."""

from rsidiff_kedro.pipelines.report.pipeline import create_pipeline
from rsidiff_kedro.pipelines.stage import Place, Stage

stage = Stage(
    name="report",
    place=Place.AFTER,
    create=create_pipeline,
    from_all_rounds=(
        "metrics",
        "training_log",
        "selection",
        "weights",
        "training_samples",
    ),
    from_tested_rounds=("test_images", "test_scores"),
    tracked={"summary": "summary.txt", "report": "report.html"},
    final="report",
)
