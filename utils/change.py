"""What changed between two visits: volumes, lesions, and the arithmetic of RANO; never a verdict.

RANO 2.0 (Wen et al., J Clin Oncol 2023, doi:10.1200/JCO.23.01059) compares the sum of the products
of two perpendicular diameters with the baseline (response: at least 50 % less) and with the
smallest sum so far, the nadir (progression: at least 25 % more). Its volumetric counterparts are
65 % and 40 %. Steroids, clinical state, new lesions and confirmation scans decide as well, which
is why these numbers alone say nothing about response.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from utils.burden import Burden
from utils.labels import Region
from utils.measure import lesion_map

LEAST_CHANGE_ML = 0.05
"""A lesion whose volume changes by less is called unchanged: nothing to one decimal."""

RANO_LESS_PERCENT = -50.0  # against baseline
RANO_MORE_PERCENT = 25.0  # against nadir

Labels = NDArray[np.uint8]
LesionNumbers = NDArray[np.int32]


@dataclass(frozen=True)
class Change:
    """One quantity at two visits.

    Attributes
    ----------
    earlier, current : float
        In one unit, not negative.
    """

    earlier: float
    current: float

    @property
    def difference(self) -> float:
        """Current minus earlier: negative when it became less."""
        return self.current - self.earlier

    @property
    def percent(self) -> float | None:
        """The difference as a share of the earlier amount; None if there was nothing earlier."""
        return 100 * self.difference / self.earlier if self.earlier else None


class Fate(StrEnum):
    """What became of a lesion; the value is the word a reader sees."""

    NEW = "new"
    VANISHED = "vanished"
    GROWN = "grown"
    SHRUNK = "shrunk"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class LesionChange:
    """Lesions of two visits that lie on one another.

    Attributes
    ----------
    earlier, current : tuple of int
        Their numbers (see `utils.measure.Lesion`); more than one where lesions merged or split.
    volume_ml : Change
        Of all of them together.
    """

    earlier: tuple[int, ...]
    current: tuple[int, ...]
    volume_ml: Change

    @property
    def fate(self) -> Fate:
        """What became of it."""
        if not self.earlier:
            return Fate.NEW
        if not self.current:
            return Fate.VANISHED
        if abs(self.volume_ml.difference) < LEAST_CHANGE_ML:
            return Fate.UNCHANGED
        return Fate.GROWN if self.volume_ml.difference > 0 else Fate.SHRUNK

    @property
    def joined(self) -> str:
        """How many became how many, where that is not one and one."""
        if len(self.earlier) > 1 and len(self.current) > 1:
            return f"{len(self.earlier)} became {len(self.current)}"
        if len(self.earlier) > 1:
            return f"{len(self.earlier)} merged"
        return f"split into {len(self.current)}" if len(self.current) > 1 and self.earlier else ""


@dataclass(frozen=True)
class RanoSums:
    """Sums of products of the visits in order of time, the current one last.

    Attributes
    ----------
    earlier_mm2 : tuple of float
        At least one.
    current_mm2 : float
        Now.

    Raises
    ------
    ValueError
        Without an earlier visit.
    """

    earlier_mm2: tuple[float, ...]
    current_mm2: float

    def __post_init__(self) -> None:
        if not self.earlier_mm2:
            raise ValueError("a change needs an earlier visit")

    @property
    def baseline(self) -> Change:
        """Against the first visit."""
        return Change(self.earlier_mm2[0], self.current_mm2)

    @property
    def nadir(self) -> Change:
        """Against the smallest sum before this one."""
        return Change(min(self.earlier_mm2), self.current_mm2)

    @property
    def half_of_baseline_or_less(self) -> bool:
        """Whether the sum is at least 50 % below the baseline's."""
        percent = self.baseline.percent
        return percent is not None and percent <= RANO_LESS_PERCENT

    @property
    def quarter_above_nadir_or_more(self) -> bool:
        """Whether the sum is at least 25 % above the nadir's; from nothing, any sum is."""
        percent = self.nadir.percent
        return self.current_mm2 > 0 if percent is None else percent >= RANO_MORE_PERCENT


def region_changes(earlier: Burden, current: Burden) -> dict[Region, Change]:
    """Compare the volumes in mL, each measured on its own voxels."""
    return {r: Change(earlier.volumes_ml[r], current.volumes_ml[r]) for r in Region}


def matched_lesions(
    earlier: LesionNumbers, current: LesionNumbers, earlier_ml: Sequence[float], voxel_ml: float
) -> tuple[LesionChange, ...]:
    """Match lesions that share a voxel, directly or through others.

    Parameters
    ----------
    earlier, current : (I, J, K) int arrays
        Lesion numbers (see `utils.measure.lesion_map`) on the current grid, 0 elsewhere.
    earlier_ml : sequence of float
        Volume of each earlier lesion on its own voxels, number 1 first.
    voxel_ml : float
        Volume of a voxel of the current grid.

    Returns
    -------
    tuple of LesionChange
        Every lesion of either visit once; by current volume, what vanished last.
    """
    count = int(current.max(initial=0))
    both = (earlier > 0) & (current > 0)
    first, second = earlier[both] - 1, current[both] - 1 + len(earlier_ml)
    size = len(earlier_ml) + count
    touching = coo_array((np.ones(first.size, np.int8), (first, second)), shape=(size, size))
    _, groups = connected_components(touching, directed=False)
    current_ml = np.bincount(current.ravel(), minlength=count + 1)[1:] * voxel_ml
    volumes_ml = np.concatenate([np.asarray(earlier_ml, dtype=float), current_ml])
    changes = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        old, now = members[members < len(earlier_ml)], members[members >= len(earlier_ml)]
        volume_ml = Change(float(volumes_ml[old].sum()), float(volumes_ml[now].sum()))
        numbers = (now - len(earlier_ml) + 1).tolist()
        changes.append(LesionChange(tuple((old + 1).tolist()), tuple(numbers), volume_ml))
    order = [(-c.volume_ml.current, -c.volume_ml.earlier) for c in changes]
    return tuple(changes[n] for n in sorted(range(len(changes)), key=order.__getitem__))


def lesion_numbers(labels: Labels, region: Region) -> tuple[LesionNumbers, tuple[int, ...]]:
    """Number the lesions of a region, and count the voxels of each."""
    numbers = lesion_map(region.mask(labels))
    sizes = np.bincount(numbers.ravel())[1:]
    return numbers, tuple(int(n) for n in sizes)


def middle_of_lesion(numbers: LesionNumbers, number: int) -> tuple[int, int, int]:
    """Find a voxel in the middle of a lesion, to look at."""
    box = ndimage.find_objects(numbers, max_label=number)[number - 1]
    inside = np.argwhere(numbers[box] == number)
    nearest = inside[((inside - inside.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    i, j, k = (int(n) + s.start for n, s in zip(nearest, box, strict=True))
    return i, j, k
