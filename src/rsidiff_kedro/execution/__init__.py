"""Run steps in shards, and keep their results, from which the run after a killed one continues."""
