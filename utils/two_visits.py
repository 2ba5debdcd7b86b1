"""An earlier and the current visit on one grid: everything that is known of both."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from utils.align import Passage, align
from utils.burden import Burden
from utils.change import (
    LesionChange,
    LesionNumbers,
    lesion_numbers,
    matched_lesions,
    middle_of_lesion,
)
from utils.errors import GridMismatchError
from utils.labels import Region
from utils.overlay import windowed
from utils.volume import Volume


@dataclass(frozen=True, eq=False)
class VisitMask:
    """One visit: its mask, and what else is known of it.

    Attributes
    ----------
    burden : Burden
        Its mask, measured.
    scan : Volume or None
        Its T1ce scan on the mask's grid.
    day : date or None
        When, if the reader has said so.
    """

    burden: Burden
    scan: Volume | None = None
    day: date | None = None


@dataclass(frozen=True, eq=False)
class TwoVisits:
    """Two visits, the earlier one brought onto the current grid.

    Attributes
    ----------
    earlier, current : VisitMask
        As uploaded.
    passage : Passage
        From the one to the other.
    """

    earlier: VisitMask
    current: VisitMask
    passage: Passage

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """The earlier mask on the current grid."""
        return self.passage.bring(self.earlier.burden.labels)

    @cached_property
    def earlier_scan(self) -> Volume | None:
        """The earlier T1ce on the current grid, in its scanner's own units."""
        scan = self.earlier.scan
        return scan and Volume(self.passage.bring(scan.values), self.passage.target)

    @cached_property
    def windowed_scans(self) -> tuple[Volume, Volume] | None:
        """The earlier and the current T1ce on the current grid, windowed; None if one lacks."""
        if self.earlier_scan is None or self.current.scan is None:
            return None
        return windowed(self.earlier_scan), windowed(self.current.scan)

    @cached_property
    def _numbers(self) -> dict[Region, tuple[LesionNumbers, LesionNumbers, tuple[float, ...]]]:
        return {}

    def lesions(self, region: Region) -> tuple[LesionChange, ...]:
        """What became of every lesion of a region."""
        earlier, current, earlier_ml = self._numbered(region)
        return matched_lesions(earlier, current, earlier_ml, self.passage.target.voxel_volume_ml)

    def middle(self, region: Region, change: LesionChange) -> tuple[int, int, int] | None:
        """A voxel of the current grid amid a lesion; None if it lies outside what is scanned."""
        earlier, current, _ = self._numbered(region)
        if change.current:
            return middle_of_lesion(current, change.current[0])
        if (earlier == change.earlier[0]).any():
            return middle_of_lesion(earlier, change.earlier[0])
        return None

    def _numbered(self, region: Region) -> tuple[LesionNumbers, LesionNumbers, tuple[float, ...]]:
        if region not in self._numbers:
            old, now = self.earlier.burden, self.current.burden
            numbers, sizes = lesion_numbers(old.labels, region)
            volumes_ml = tuple(n * old.grid.voxel_volume_ml for n in sizes)
            current, _ = lesion_numbers(now.labels, region)
            self._numbers[region] = self.passage.bring(numbers), current, volumes_ml
        return self._numbers[region]


def passage_between(earlier: VisitMask, current: VisitMask, *, again: bool = False) -> Passage:
    """Find the way from one visit's voxels to the other's.

    Parameters
    ----------
    again : bool
        Align the scans although the voxels are the same.

    Raises
    ------
    GridMismatchError
        If the grids differ and there are no two scans to align, or they could not be.
    """
    source, target = earlier.burden.grid, current.burden.grid
    direct = Passage.direct(source, target)
    if direct is not None and not again:
        return direct
    if earlier.scan is None or current.scan is None:
        missing = "earlier" if earlier.scan is None else "current"
        raise GridMismatchError(
            f"The two masks lie on different voxels. Add the {missing} T1ce scan, so that the "
            "visits can be aligned; volumes and diameters above do not depend on it."
        )
    return Passage(source, target, align(earlier.scan, current.scan))
