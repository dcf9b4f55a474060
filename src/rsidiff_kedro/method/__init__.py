"""The method, one file per step with its settings: pure functions on tables and arrays.

A round reads them in this order: prompt `curation`, preference `selection`, distribution-based `weighting`, `replay` of
earlier rounds, and the `gate` that decides whether the trained adapter is used. `selecting` tells rewards that select
from those that are held out.
"""
