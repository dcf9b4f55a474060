"""Looks at all that a run reads, before its first node: data of earlier runs, and the real pairs of `sft`."""

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import AbstractVersionedDataset, CatalogProtocol
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline

from rsidiff_kedro.diffusion.adapters import Adapter, check_base
from rsidiff_kedro.diffusion.real_images import check_pairs
from rsidiff_kedro.diffusion.settings import ModelSettings
from rsidiff_kedro.errors import InputError
from rsidiff_kedro.parameters import SftSettings
from rsidiff_kedro.pipelines.sft.nodes import build_training_set


class MissingInputError(InputError):
    """A run reads what was never made."""


class InputHooks:
    """Stops a run before anything is spent if an input is missing, damaged, or belongs to another model."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Load each input once; images are only listed, so that this takes no time."""
        if any(node.func is build_training_set for node in pipeline.nodes):
            sft = SftSettings.model_validate(catalog["params:sft"].load())
            check_pairs(sft.images, sft.text_column)
        names = sorted(name for name in pipeline.inputs() if not is_parameter(name))
        missing = [name for name in names if not _is_there(name, catalog)]
        if missing:
            raise MissingInputError(_how_to_make(missing, catalog, run_params.get("load_versions") or {}))
        for name in names:
            data = catalog[name].load()
            if isinstance(data, Adapter):
                check_base(data, _model(catalog).base, name)


def _is_there(name: str, catalog: CatalogProtocol) -> bool:
    dataset = catalog.get(name)
    return dataset is not None and bool(dataset.exists())


def _how_to_make(missing: list[str], catalog: CatalogProtocol, load_versions: dict[str, str]) -> str:
    name = missing[0]
    others = f" (nor are {len(missing) - 1} others)" if len(missing) > 1 else ""
    dataset = catalog.get(name)
    if name in load_versions and isinstance(dataset, AbstractVersionedDataset):
        return f"{name} has no version {load_versions[name]!r}{others}; --load-versions takes a folder's name below it"
    makers = [each for each in sorted(pipelines) if name in pipelines[each].all_outputs() and each != "__default__"]
    cure = f"run what makes it first: kedro run --pipelines={makers[0]}" if makers else "raise rounds"
    return f"{name}, which the run reads, is not there{others}; {cure}"


def _model(catalog: CatalogProtocol) -> ModelSettings:
    return ModelSettings.model_validate(catalog["params:model"].load())
