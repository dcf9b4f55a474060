"""Collect prompts, filter them, and split them over training and evaluation."""
