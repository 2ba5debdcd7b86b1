"""How far a number may be off: intervals from the errors on patients the network never saw.

Split conformal prediction (Lei et al. 2018, doi:10.1080/01621459.2017.1307116): of ``n`` errors on
comparable, unseen patients the ``ceil((n + 1) * coverage)``-th smallest bounds the error of the
next patient with at least that coverage, whatever the errors' distribution. Errors are measured in
units of the network's own doubt about the patient, so that who is doubted gets a wider interval.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.bundle import read_metrics
from model.predict import DEFAULT_MODEL
from utils.doubt import OFFSET_ML
from utils.labels import Region

WISHED_COVERAGE = 0.9
LEAST_DOUBT = 0.5  # added to every spread: nobody is known without error


class DiceRange(NamedTuple):
    """Dice to expect, and the range that holds it with the coverage."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """Errors on unseen patients, and what they say about the next one.

    Attributes
    ----------
    volume_errors : mapping of Region to sequence of float
        ``|log((reference + 1 mL) / (predicted + 1 mL))|`` of each patient, divided by the patient's
        doubt (`utils.doubt.volume_spreads`, and `LEAST_DOUBT`), ascending.
    dice_errors : mapping of Region to sequence of float
        ``1 - Dice`` of each patient, divided by the same, ascending.
    """

    volume_errors: Mapping[Region, Sequence[float]]
    dice_errors: Mapping[Region, Sequence[float]]

    @property
    def cases(self) -> int:
        """Number of patients."""
        return len(self.dice_errors[Region.WT])

    @property
    def coverage(self) -> float:
        """Share of comparable patients within the intervals: 0.9, or less if patients are few."""
        return min(WISHED_COVERAGE, self.cases / (self.cases + 1))

    def volume_interval_ml(
        self, region: Region, volume_ml: float, spread: float
    ) -> tuple[float, float]:
        """Between what the true volume of a region lies, in mL.

        Parameters
        ----------
        region : Region
            Which.
        volume_ml : float
            What was predicted.
        spread : float
            How much it is in doubt, from `utils.doubt.volume_spreads`.
        """
        factor = math.exp(self._bound(self.volume_errors[region]) * (spread + LEAST_DOUBT))
        low, high = ((volume_ml + OFFSET_ML) * f - OFFSET_ML for f in (1 / factor, factor))
        return max(0.0, low), high

    def volume_intervals_ml(
        self, volumes_ml: Mapping[Region, float], spreads: Mapping[Region, float]
    ) -> dict[Region, tuple[float, float]]:
        """The same of every region; none reaches above that of the region around it."""
        intervals, most = {}, math.inf
        for region in Region:
            low, high = self.volume_interval_ml(region, volumes_ml[region], spreads[region])
            most = min(most, high)
            intervals[region] = min(low, most), most
        return intervals

    def expected_dice(self, region: Region, spread: float) -> DiceRange:
        """How well the mask of a region fits, if it is in doubt by `spread`, and how ill it may."""
        errors = self.dice_errors[region]
        usual, worst, best = float(np.median(errors)), self._bound(errors), errors[0]
        return DiceRange(*(max(0.0, 1 - e * (spread + LEAST_DOUBT)) for e in (usual, worst, best)))

    def _bound(self, errors: Sequence[float]) -> float:
        """What the error of the next patient does not exceed, with the coverage."""
        return errors[math.ceil(round((self.cases + 1) * self.coverage, 9)) - 1]


@cache
def shipped_reliability() -> Reliability:
    """Errors of the model the app runs."""
    return read_reliability(DEFAULT_MODEL)


def read_reliability(folder: Path) -> Reliability:
    """From the measured figures of a model folder.

    Raises
    ------
    ModelError
        If it has none.
    """
    return reliability(unseen_cases(read_metrics(folder)))


def unseen_cases(metrics: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Scores of each case that no training step saw; who watched one fold may have tested another.

    A case counts once, as tested if it was.
    """
    return [*{**metrics["validation"], **metrics["cases"]}.values()]


def reliability(cases: Sequence[Mapping[str, Any]]) -> Reliability:
    """From the scores of patients no training step saw, as `model.evaluate` gives them."""
    volume_errors, dice_errors = {}, {}
    for region in Region:
        scores = [case["regions"][region.name] for case in cases]
        volume_errors[region] = sorted(
            abs(math.log((s["reference_ml"] + OFFSET_ML) / (s["predicted_ml"] + OFFSET_ML)))
            / (s["spread"] + LEAST_DOUBT)
            for s in scores
        )
        dice_errors[region] = sorted((1 - s["dice"]) / (s["spread"] + LEAST_DOUBT) for s in scores)
    return Reliability(volume_errors, dice_errors)


def covered(cases: Sequence[Mapping[str, Any]]) -> dict[Region, int]:
    """Of how many of these patients the true volume lies where the errors of the others say."""
    found = dict.fromkeys(Region, 0)
    for number, case in enumerate(cases):
        others = reliability([*cases[:number], *cases[number + 1 :]])
        scores = {region: case["regions"][region.name] for region in Region}
        predicted_ml, spreads = (
            {region: s[key] for region, s in scores.items()} for key in ("predicted_ml", "spread")
        )
        for region, (low, high) in others.volume_intervals_ml(predicted_ml, spreads).items():
            found[region] += low <= scores[region]["reference_ml"] <= high
    return found
