"""Plug-ins for the rest of the project: a prompt source, a judge, and the rewards proxy and oracle."""
