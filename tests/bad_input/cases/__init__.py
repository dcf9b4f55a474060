"""What a user can get wrong, a module a subject; the cases are run, and put into docs/bad-input.md, by the test."""

from cases import adapters, checkpoints, configuration, images, parameters, prompts
from cases.case import Case

CASES: tuple[Case, ...] = (
    *parameters.CASES,
    *prompts.CASES,
    *images.CASES,
    *checkpoints.CASES,
    *adapters.CASES,
    *configuration.CASES,
)
"""Every case, by subject."""
