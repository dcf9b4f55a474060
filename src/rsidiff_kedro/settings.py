"""Kedro's settings of this project; see https://docs.kedro.org/en/stable/configure/configuration_basics/."""

import gc
import warnings

from rsidiff_kedro.context import RsiContext
from rsidiff_kedro.core.lock_waits import tell_lock_waits
from rsidiff_kedro.core.terminal import tolerate_any_text
from rsidiff_kedro.hooks.configuration import RsiConfigLoader
from rsidiff_kedro.hooks.lazy import LazyHooks
from rsidiff_kedro.hooks.session import RsiSession

tolerate_any_text()  # also of sessions without a command, as in notebooks

# A start only makes objects that stay, so Python looks among them for garbage in vain. What networks leave is collected
# when a step has opened some (hooks/memory.py).
gc.set_threshold(20_000)

# A lock of a library, such as one of the hub's cache, would be waited for without a word.
tell_lock_waits()

# Report nothing to anybody; the file .telemetry stops the plug-in's command hook, which runs before this.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)

# Kedro 1.7 calls omegaconf in a way that omegaconf 2.4 deprecates; users cannot act on it.
warnings.filterwarnings("ignore", message=r"register_new_resolver\(\) is deprecated")
# The README uses the short form.
warnings.filterwarnings("ignore", message="Option '--pipeline' is deprecated")
# The report reads the datasets of all rounds by their full names, `rsi.round_1.metrics`.
warnings.filterwarnings("ignore", message="One or more dataset names contain '.' characters")

# Kedro-Viz shows previews of nodes; only its pictures change if they do.
warnings.filterwarnings("ignore", message="The 'preview_fn' feature is experimental")
# Kedro-Viz 12's own.
warnings.filterwarnings("ignore", message="ORJSONResponse is deprecated")

CONTEXT_CLASS = RsiContext
SESSION_CLASS = RsiSession
# Kedro calls the last hook first: ReuseHooks decides which versions are read, then InputHooks checks the inputs.
HOOKS = LazyHooks(
    (
        "plan.PlanHooks",
        "inputs.InputHooks",
        "reuse.ReuseHooks",
        "report_facts.RunFactsHooks",
        "tracking.TrackingHooks",
        "ending.EndingHooks",
        "memory.MemoryHooks",
        "execution.ExecutionHooks",
        "progress.ProgressHooks",
        "one_run.OneRunHooks",
    )
)
CONFIG_LOADER_CLASS = RsiConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*", "mlflow*/**"]},
}
