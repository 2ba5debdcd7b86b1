"""How far a number may be off: intervals from the errors on patients the network never saw.

Split conformal prediction (Lei et al. 2018, doi:10.1080/01621459.2017.1307116): of ``n`` errors on
comparable, unseen patients the ``ceil((n + 1) * coverage)``-th smallest bounds the error of the
next patient with at least that coverage, whatever the errors' distribution.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.bundle import METRICS
from model.predict import DEFAULT_MODEL
from utils.labels import Region

WISHED_COVERAGE = 0.9
OFFSET_ML = 1.0
"""Added to both volumes before their ratio is taken: tiny volumes have no meaningful ratio."""


class DiceRange(NamedTuple):
    """Median Dice of unseen patients and the range that holds a new one with the coverage."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """Errors on unseen patients, and what they say about the next one.

    Attributes
    ----------
    volume_ratios : mapping of Region to sequence of float
        ``|log((reference + 1 mL) / (predicted + 1 mL))|`` of each patient, ascending.
    dice : mapping of Region to sequence of float
        Dice of each patient, ascending.
    """

    volume_ratios: Mapping[Region, Sequence[float]]
    dice: Mapping[Region, Sequence[float]]

    @property
    def cases(self) -> int:
        """Number of patients."""
        return len(self.dice[Region.WT])

    @property
    def coverage(self) -> float:
        """Share of comparable patients within the intervals: 0.9, or less if patients are few."""
        return min(WISHED_COVERAGE, self.cases / (self.cases + 1))

    def volume_interval_ml(self, region: Region, volume_ml: float) -> tuple[float, float]:
        """Between what the true volume of a region lies, in mL, if `volume_ml` was predicted."""
        rank = math.ceil(round((self.cases + 1) * self.coverage, 9))
        factor = math.exp(self.volume_ratios[region][rank - 1])
        low, high = ((volume_ml + OFFSET_ML) * f - OFFSET_ML for f in (1 / factor, factor))
        return max(0.0, low), high

    def expected_dice(self, region: Region) -> DiceRange:
        """How well the mask of a region fits on usual cases, and how ill it may."""
        values = self.dice[region]
        rank = math.floor(round((self.cases + 1) * (1 - self.coverage), 9))
        return DiceRange(float(np.median(values)), values[max(0, rank - 1)], values[-1])


@cache
def shipped_reliability() -> Reliability:
    """Errors of the model the app runs."""
    return read_reliability(DEFAULT_MODEL)


def read_reliability(folder: Path) -> Reliability:
    """From the measured figures of a model folder."""
    metrics = json.loads((folder / METRICS).read_text())
    return reliability([*metrics["cases"].values(), *metrics["validation"].values()])


def reliability(cases: Sequence[Mapping[str, Any]]) -> Reliability:
    """From the scores of patients no training step saw, as `model.evaluate` gives them."""
    ratios, dice = {}, {}
    for region in Region:
        scores = [case["regions"][region.name] for case in cases]
        ratios[region] = sorted(
            abs(math.log((s["reference_ml"] + OFFSET_ML) / (s["predicted_ml"] + OFFSET_ML)))
            for s in scores
        )
        dice[region] = sorted(s["dice"] for s in scores)
    return Reliability(ratios, dice)
