"""One patient visit: four co-registered scans on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from utils.errors import GridMismatchError, MissingModalityError
from utils.grid import Grid
from utils.volume import Volume

GRID_TOLERANCE_MM = 0.1


class Modality(StrEnum):
    """Values are the BraTS 2020 file suffixes; definition order is the network's channel order."""

    FLAIR = "flair"
    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"

    @property
    def title(self) -> str:  # type: ignore[override]  # shadows str.title, never needed here
        """The name a reader knows: FLAIR, T1, T1ce, T2."""
        return "T1ce" if self is Modality.T1CE else self.value.upper()


@dataclass(frozen=True, eq=False)
class Study:
    """All four modalities of one visit, on one grid.

    Raises
    ------
    MissingModalityError
        If a modality is absent.
    GridMismatchError
        If a scan is not aligned with the others to within ``GRID_TOLERANCE_MM``.
    """

    scans: Mapping[Modality, Volume]

    def __post_init__(self) -> None:
        missing = [m.title for m in Modality if m not in self.scans]
        if missing:
            raise MissingModalityError(
                f"This study lacks {' and '.join(missing)}. Add the missing scan and try again."
            )
        object.__setattr__(self, "scans", MappingProxyType({m: self.scans[m] for m in Modality}))
        for modality, scan in self.scans.items():
            shift = self.grid.displacement_mm(scan.grid)
            if shift > GRID_TOLERANCE_MM:
                raise GridMismatchError(_mismatch(modality, scan.grid, self.grid, shift))

    @property
    def grid(self) -> Grid:
        """The grid all four scans share."""
        return self.scans[Modality.FLAIR].grid

    def stack(self) -> NDArray[np.float32]:
        """(I, J, K, 4) array, channels in `Modality` order."""
        return np.stack([scan.values for scan in self.scans.values()], axis=-1)


def _mismatch(modality: Modality, grid: Grid, reference: Grid, shift_mm: float) -> str:
    if grid.shape != reference.shape:
        amount = f"{_size(grid)} voxels against {_size(reference)}"
    else:
        amount = f"off by {shift_mm:.1f} mm"
    return (
        f"{modality.title} is not aligned with {Modality.FLAIR.title} ({amount}). "
        "Co-register the four scans and upload them again."
    )


def _size(grid: Grid) -> str:
    return " x ".join(map(str, grid.shape))
