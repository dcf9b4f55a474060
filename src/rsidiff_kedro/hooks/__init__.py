"""Kedro hooks: what is recorded (tracking), how errors are shown (errors), and where to look at the end (ending)."""
