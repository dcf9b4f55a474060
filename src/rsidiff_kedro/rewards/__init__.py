"""Preference models: what they are (protocol), which there are (registry), and the scores that they give (scoring)."""
