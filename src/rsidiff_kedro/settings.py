"""Kedro's settings of this project: https://docs.kedro.org/en/stable/configure/configuration_basics/."""

import warnings

from rsidiff_kedro.configuration import RsiConfigLoader
from rsidiff_kedro.context import RsiContext
from rsidiff_kedro.hooks.ending import EndingHooks
from rsidiff_kedro.hooks.inputs import InputHooks
from rsidiff_kedro.hooks.lineage import LineageHooks
from rsidiff_kedro.hooks.memory import MemoryHooks
from rsidiff_kedro.hooks.tracking import TrackingHooks
from rsidiff_kedro.session import RsiSession

# Nothing is reported to anybody; the file .telemetry stops the plug-in's command hook, which comes before settings.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)

# Kedro 1.7 calls omegaconf in a way that omegaconf 2.4 deprecates; no user can act on it.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")
# The short form is what the project is asked for by; it will go when Kedro drops it.
warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")
# The report reads the datasets of all rounds by their full names, `rsi.round_1.metrics`.
warnings.filterwarnings("ignore", message="One or more dataset names contain '.' characters")

CONTEXT_CLASS = RsiContext
SESSION_CLASS = RsiSession
# Lineage says which versions are read, then inputs are looked at, and only then is anything recorded.
HOOKS = (InputHooks(), LineageHooks(), TrackingHooks(), EndingHooks(), MemoryHooks())
CONFIG_LOADER_CLASS = RsiConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment names only what differs from conf/base, at any depth.
    "merge_strategy": {"parameters": "soft", "mlflow": "soft"},
}
