"""Plug in a prompt source, a judge, and the rewards proxy and oracle."""
