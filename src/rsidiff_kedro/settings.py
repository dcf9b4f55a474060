"""Kedro's settings of this project: https://docs.kedro.org/en/stable/configure/configuration_basics/."""

import warnings

from rsidiff_kedro.context import RsiContext
from rsidiff_kedro.hooks.tracking import TrackingHooks

# Kedro 1.7 calls omegaconf in a way that omegaconf 2.4 deprecates, twice a session; no user can act on it.
warnings.filterwarnings("ignore", module="omegaconf")
warnings.filterwarnings("ignore", message=".*omegaconf.*", category=DeprecationWarning)

CONTEXT_CLASS = RsiContext
HOOKS = (TrackingHooks(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment names only what differs from conf/base, at any depth.
    "merge_strategy": {"parameters": "soft"},
}
