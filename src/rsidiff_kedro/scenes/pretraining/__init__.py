"""Train the embedded default from scratch: corpus, base model, preference model, and their model cards."""

from rsidiff_kedro.pipelines.requirements import section_requirement
from rsidiff_kedro.pipelines.stage import Place, Stage
from rsidiff_kedro.scenes.pretraining.pipeline import create_pipeline
from rsidiff_kedro.scenes.pretraining.pretraining_settings import BaseModelSettings

stage = Stage(
    name="base_model",
    place=Place.APART,
    create=create_pipeline,
    namespace="base_model",
    requires=lambda parameters: [section_requirement("base_model", parameters)],
    lower="batch_size of the training in base_model",
    final="base_model.proxy_metrics",
    settings={"base_model": BaseModelSettings},
)
