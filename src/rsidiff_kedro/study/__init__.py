"""Compare variants of the method over several seeds: what to run, tables of what was measured, statistics, a page."""
