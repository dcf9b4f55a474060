"""Kedro hooks: what may be reused (lineage) and what is recorded (tracking)."""
