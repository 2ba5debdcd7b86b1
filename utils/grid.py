"""The voxel grid: where an array sits in the patient."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class NiftiForms:
    """The geometry fields of a NIfTI header, kept so that a mask can repeat them bit for bit.

    Attributes
    ----------
    qform_code, sform_code : int
        What each form refers to; 0 means absent.
    pixdim : 4 floats
        qfac and the voxel sizes in mm.
    quaternion, offset : 3 floats each
        The qform: (b, c, d) and its translation in mm.
    srow : 12 floats
        The sform, row by row.
    """

    qform_code: int
    sform_code: int
    pixdim: tuple[float, ...]
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    srow: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and affine of a volume.

    Attributes
    ----------
    shape : (I, J, K)
        Number of voxels along each array axis.
    affine : (4, 4) float64 array, read-only
        Maps voxel indices (i, j, k) to millimetres in RAS+ world space.
    forms : NiftiForms or None
        How the uploaded file stated that affine; None for a grid that never was a file.

    Raises
    ------
    ValueError
        If the affine is not (4, 4), not finite, or singular.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    forms: NiftiForms | None = None

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"affine must be (4, 4), got {affine.shape}")
        if not np.isfinite(affine).all():
            raise ValueError("affine holds values that are not finite")
        if abs(np.linalg.det(affine)) < 1e-9:
            raise ValueError("affine is singular: its voxels have no volume")
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along each array axis."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel; exact for oblique and sheared grids."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / MM3_PER_ML

    @property
    def orientation(self) -> str:
        """Direction in which each array axis grows, e.g. ``"RAS"``; the closest one if oblique."""
        return "".join(aff2axcodes(self.affine))

    def displacement_mm(self, other: "Grid") -> float:
        """Largest distance between matching corners of the two grids; inf if shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        corners = np.array([(*c, 1) for c in product(*((0, n - 1) for n in self.shape))])
        offsets = corners @ (self.affine - other.affine).T
        return float(np.linalg.norm(offsets[:, :3], axis=1).max())
