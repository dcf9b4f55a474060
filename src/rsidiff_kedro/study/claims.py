"""Judge the claims of a study: whether its figures confirm, contradict or do not show them, or whether it has none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rsidiff_kedro.study.comparisons import Measure
from rsidiff_kedro.study.settings import DIVERSITY, Claim, StudyError
from rsidiff_kedro.study.statistics import Estimate, holm, ratio

CONFIRMED, CONTRADICTED, NOT_OBSERVED = "confirmed", "contradicted", "not observed"
NOT_MEASURED = "not measured"
SIGNIFICANCE = 0.05
"""The largest p-value of a clear difference, after Holm's correction over a study's claims."""


@dataclass(frozen=True)
class Judged:
    """A claim with what the figures say of it.

    Attributes:
        claim: as the study's file states it.
        measure: that it is about.
        found: the difference or ratio of its two runs.
        p: two-sided, after Holm's correction over all claims.
    """

    claim: Claim
    measure: Measure
    found: Estimate
    p: float

    @property
    def verdict(self) -> str:
        """Return what is clear: the 95 % interval lies on one side, and the corrected p is below 0.05.

        "No lower" is confirmed already by an interval that does not lie below.
        """
        none = 1.0 if self.measure.is_ratio else 0.0
        if math.isnan(self.found.value):
            return NOT_MEASURED
        if math.isnan(self.found.low):
            return NOT_OBSERVED
        clear = self.p < SIGNIFICANCE
        above, below = self.found.low > none and clear, self.found.high < none and clear
        sides = {"higher": (above, below), "lower": (below, above), "no lower": (self.found.high >= none, below)}
        right, wrong = sides[self.claim.expected]
        return CONFIRMED if right else CONTRADICTED if wrong else NOT_OBSERVED


def judge(claims: Sequence[Claim], measures: Sequence[Measure]) -> list[Judged]:
    """Compare the two runs of each claim.

    Raises:
        StudyError: a claim is about something that the runs did not measure.
    """
    by_label = {measure.label: measure for measure in measures}
    found = []
    for claim in claims:
        measure = by_label.get(claim.measure or measures[0].label)
        if measure is None and claim.measure == DIVERSITY:  # as where no prompt has two right images in any run
            measure = Measure(DIVERSITY, measures[0].table.iloc[:0], measures[0].column, ratio)
        if measure is None:
            raise StudyError(
                f"the claim {claim.says!r} is about {claim.measure!r}, which was not measured; "
                f"name one of {', '.join(by_label)}"
            )
        found.append(Judged(claim, measure, measure.compare(measure.of(*claim.of), measure.of(*claim.over)), 0.0))
    corrected = holm([each.found.p for each in found])
    return [replace(each, p=p) for each, p in zip(found, corrected, strict=True)]
