"""Tumour burden: the lesions a reader sees, and the foci of core in each, as RANO counts them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.grid import Grid
from utils.labels import Region
from utils.measure import Lesion, bidimensional_sum_mm2, lesion_map, lesions


@dataclass(frozen=True)
class Burden:
    """What there is of tumour, in parts.

    Attributes
    ----------
    lesions : tuple of Lesion
        Connected parts of the whole tumour, largest first.
    foci : tuple of Lesion
        Connected parts of the tumour core, largest first: several may share an oedema.
    owners : tuple of int
        Number of the lesion in which each focus lies.
    """

    lesions: tuple[Lesion, ...]
    foci: tuple[Lesion, ...]
    owners: tuple[int, ...]

    def foci_in(self, lesion: Lesion) -> tuple[Lesion, ...]:
        """Foci of one lesion, largest first."""
        return tuple(
            focus
            for focus, owner in zip(self.foci, self.owners, strict=True)
            if owner == lesion.number
        )

    @property
    def measurable(self) -> tuple[Lesion, ...]:
        """Foci of which both diameters are long enough for RANO."""
        return tuple(f for f in self.foci if f.diameters and f.diameters.measurable)

    @property
    def product_sum_mm2(self) -> float:
        """Sum of the bidimensional products of the measurable foci."""
        return bidimensional_sum_mm2(self.foci)


def burden(labels: NDArray[np.uint8], grid: Grid, midline_mm: float | None = None) -> Burden:
    """Measure every lesion and every focus.

    Parameters
    ----------
    labels : (I, J, K) uint8 array
        Values of `utils.labels.Label`.
    grid : Grid
        Where they lie.
    midline_mm : float, optional
        World x of the midline, see `utils.measure.midline_x_mm`.
    """
    foci = lesions(labels, grid, Region.TC, midline_mm)
    core = Region.TC.mask(labels)
    owners = np.zeros(len(foci) + 1, np.int32)
    # a focus lies in one lesion as a whole: whichever of its voxels is written last says the same
    owners[lesion_map(core)[core]] = lesion_map(Region.WT.mask(labels))[core]
    return Burden(lesions(labels, grid, Region.WT, midline_mm), foci, tuple(owners[1:].tolist()))
