"""Kedro hooks: what is recorded (tracking) and how errors are shown (errors)."""
