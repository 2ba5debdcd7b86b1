"""Do probabilities mean what they say? Temperatures, reliability bins, calibration error.

Voxels whose stored probability is exactly 0 or 1 are left out throughout: outside the head there is
nothing to be in doubt about, and they would make any network look calibrated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from utils.labels import Region
from utils.segmentation import CERTAIN

BINS = 10
HOTTEST = 8.0


@dataclass(frozen=True)
class Reckoning:
    """How often a region was there, by how probable it was said to be.

    Attributes
    ----------
    voxels : (BINS,) int array
        Doubtful voxels in bins of equal width from 0 to 1.
    probability, frequency : (BINS,) float arrays
        Mean predicted probability and share of voxels truly inside; 0 where a bin is empty.
    """

    voxels: NDArray[np.int64]
    probability: NDArray[np.float64]
    frequency: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error (Naeini et al. 2015): mean gap, weighted by voxels."""
        return self._error(slice(None))

    @property
    def error_in_doubt(self) -> float:
        """The same, undiluted: only where 10 to 90 % were said."""
        return self._error(slice(1, -1))

    def plain(self) -> dict[str, list[float]]:
        """As ``metrics.json`` holds it."""
        return {
            "voxels": self.voxels.tolist(),
            "probability": self.probability.round(4).tolist(),
            "frequency": self.frequency.round(4).tolist(),
        }

    def _error(self, bins: slice) -> float:
        gaps, voxels = np.abs(self.probability - self.frequency)[bins], self.voxels[bins]
        return float((gaps * voxels).sum() / max(1, voxels.sum()))


def doubtful(
    stored: NDArray[np.uint8], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probabilities strictly between 0 and 1, and the truth there, as (M,) arrays."""
    kept = (stored > 0) & (stored < CERTAIN)
    return stored[kept] / CERTAIN, truth[kept]


def reckon(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> Reckoning:
    """Sort (M,) probabilities into bins and count how often they came true."""
    index = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    voxels = np.bincount(index, minlength=BINS)
    some = np.maximum(voxels, 1)
    return Reckoning(
        voxels,
        np.bincount(index, probabilities, BINS) / some,
        np.bincount(index, truth, BINS) / some,
    )


def temperature(probabilities: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """What to divide the logits by so that (M,) probabilities become most likely.

    Guo et al. 2017 (arXiv:1706.04599). Above 1 where the network was too sure of itself.
    """
    if not probabilities.size:
        return 1.0
    logits = np.log(probabilities) - np.log1p(-probabilities)
    signed = np.where(truth, logits, -logits)

    def surprise(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

    bound = np.log(HOTTEST)
    return float(np.exp(minimize_scalar(surprise, bounds=(-bound, bound), method="bounded").x))


def temperatures(
    stored: Sequence[NDArray[np.uint8]], regions: Sequence[NDArray[np.bool_]]
) -> tuple[float, ...]:
    """One temperature a region, from (i, j, k, 3) predictions and truths of several patients."""
    found = []
    for channel in range(len(Region)):
        pairs = [
            doubtful(s[..., channel], r[..., channel]) for s, r in zip(stored, regions, strict=True)
        ]
        probabilities, truth = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        found.append(round(temperature(probabilities, truth), 3))
    return tuple(found)
