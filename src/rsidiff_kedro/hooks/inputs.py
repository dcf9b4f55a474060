"""Check everything that a run needs before its first node: requirements of its stages, and data of earlier runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pandas as pd
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol, DataCatalog
from kedro.io.core import is_parameter
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsidiff_kedro.core.adapter import Adapter
from rsidiff_kedro.core.errors import InputError
from rsidiff_kedro.core.image_set import ImageSet
from rsidiff_kedro.core.untrusted.text import printable
from rsidiff_kedro.datasets.runs import REPORT
from rsidiff_kedro.diffusion.bases import check_base
from rsidiff_kedro.hooks.keyed_parameters import KeyedParameters
from rsidiff_kedro.hooks.pairs import check_pairs, is_paired
from rsidiff_kedro.hooks.reuse import is_complete
from rsidiff_kedro.hooks.stored_tables import check_loaded, check_stored
from rsidiff_kedro.parameters import Parameters, parse_parameters
from rsidiff_kedro.pipelines import stage_of, stages
from rsidiff_kedro.pipelines.requirements import check_reported, check_scores, count_cut_prompts
from rsidiff_kedro.provenance.records import Records
from rsidiff_kedro.provenance.retention import RECORDS
from rsidiff_kedro.reporting.values import Metrics

_COMPARED = (".validation_scores", ".test_scores")
"""Ends of the names of scores that the gate and the evaluation compare their own with."""
_SCORES, _METRICS = ".test_scores", ".metrics"
_COLLECTED = "collected_prompts"


class MissingInputError(InputError):
    """A run reads something that was never made."""


class InputHooks:
    """Stop a run before anything is spent if something that it needs is missing, damaged or does not fit."""

    def __init__(self) -> None:
        self._parameters: Parameters | None = None
        self._keyed, self._records = KeyedParameters(), Records(Path("data") / RECORDS)
        self._catalog: CatalogProtocol = DataCatalog({})

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Remember the validated parameters, and where records are."""
        loader, root = context.config_loader, Path(context.project_path)
        self._parameters = parse_parameters(loader["parameters"])
        self._keyed = KeyedParameters(self._parameters, root)
        self._records = Records(root / loader["globals"]["data"] / RECORDS)

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Check the requirements of the stages that run, and load each input once; images are only listed.

        A run that reuses every step needs nothing.

        Raises:
            click.UsageError: a requirement is not met.
            MissingInputError: an input is missing.
            AdapterError: an adapter belongs to another base model.
            RequirementError: scores or images of another run cannot be compared with.
            PromptTableError: prompts were stored in a way that loses something.
        """
        assert self._parameters is not None
        self._catalog = catalog
        if is_complete():
            return
        tags = {tag for node in pipeline.nodes for tag in node.tags}
        used = [stage for stage in stages() if stage.name in tags]
        try:
            for requirement in dict.fromkeys(each for stage in used for each in stage.requires(self._parameters)):
                requirement.check()
        except ValueError as error:
            raise click.UsageError(printable(str(error))) from error
        names = sorted(name for name in pipeline.inputs() if not is_parameter(name))
        missing = [name for name in names if not _exists(name, catalog)]
        if missing:
            raise MissingInputError(_how_to_make(missing))
        model, rounds = self._parameters.model, {_round_of(node.namespace or "") for node in pipeline.nodes}
        tables: dict[str, pd.DataFrame] = {}
        metrics: dict[str, Metrics] = {}
        for name in names:
            data = catalog[name].load()
            check_loaded(name, data)
            if is_paired(name):
                tables[name] = data.metadata if isinstance(data, ImageSet) else data
            if name.endswith(_METRICS):
                metrics[name] = data
            if isinstance(data, Adapter):
                check_base(data, model.base, model.revision, name)
            if name.endswith(_COMPARED) and {"gate", "evaluation", "sft"} & tags:
                check_scores(name, data, self._parameters, own=_round_of(name) in rounds)
        self._check_report(pipeline, tables, metrics)
        check_pairs(pipeline, catalog, tables, self._keyed, self._records)

    def _check_report(
        self, pipeline: Pipeline, tables: Mapping[str, pd.DataFrame], metrics: Mapping[str, Metrics]
    ) -> None:
        """Check the scores that steps of the report read, of other runs and of this one."""
        assert self._parameters is not None
        shown = {name for node in pipeline.nodes if REPORT in node.tags for name in node.inputs}
        scores = {name: table for name, table in tables.items() if name in shown and name.endswith(_SCORES)}
        found = [each for name, each in metrics.items() if name in shown]
        check_reported(scores, found, sorted(shown & pipeline.all_outputs()), self._parameters)

    @hook_impl
    def after_dataset_loaded(self, dataset_name: str, data: Any) -> None:
        """Check prompts that a step reads, which may be reused."""
        check_loaded(dataset_name, data)

    @hook_impl(tryfirst=True)
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Check that a table comes back, before a record says what it is; count what rewards cut of prompts that cost.

        No requirement has collected those.
        """
        if stage_of(node) is not None:
            check_stored(dataset_name, data, self._catalog.get(dataset_name))
        if dataset_name == _COLLECTED and self._parameters is not None:
            curation = self._parameters.prompt_curation
            if any(source.costs for source in (curation.source, curation.evaluation_source) if source):
                count_cut_prompts(self._parameters, data["text"].tolist())


def _round_of(name: str) -> str:
    """Return the round that a dataset or a namespace belongs to, such as rsi.round_2."""
    return ".".join(name.split(".")[:2])


def _exists(name: str, catalog: CatalogProtocol) -> bool:
    dataset = catalog.get(name)
    return dataset is not None and bool(dataset.exists())


def _how_to_make(missing: list[str]) -> str:
    name = missing[0]
    others = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
    makers = [each for each in sorted(pipelines) if name in pipelines[each].all_outputs() and each != "__default__"]
    cure = f"run what makes it first: kedro run --pipelines={makers[0]}" if makers else "raise rounds"
    return f"{name}, which the run reads, does not exist{others}; {cure}"
