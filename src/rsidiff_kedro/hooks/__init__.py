"""Kedro hooks: inputs looked at (inputs), what is recorded (lineage, tracking), memory, and where to look (ending)."""
