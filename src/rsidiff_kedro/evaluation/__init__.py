"""Measure rounds: metrics with intervals, diversity, distance to the base, categories of prompts, judges."""
