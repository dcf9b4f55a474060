"""Prompts: where they come from, which are kept, and how they are split over training and evaluation."""
