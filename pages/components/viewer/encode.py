"""Volumes as the browser wants them: reoriented to RAS+, small, gzip'd, x running fastest."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from utils.grid import Grid
from utils.study import Modality
from utils.volume import Volume

Voxel = TypeVar("Voxel", np.float32, np.uint8)

GZIP_LEVEL = 1  # 0.1 s a scan; level 6 takes four times as long to save a tenth of the bytes
STORED_STEPS = 2**14 - 1  # for scans that are not whole numbers: finer than a scanner's own steps
WINDOW_SAMPLE = 300_000  # voxels from which a percentile is known well enough


@dataclass(frozen=True)
class WindowRule:
    """How a scan's first window is found in its own tissue, whatever the scanner's units.

    Attributes
    ----------
    darkest_percent, brightest_percent : float
        Percentiles of the tissue shown black and white.
    headroom : float
        How much further up white lies, as a share of the range between the two.
    """

    darkest_percent: float = 1.0
    brightest_percent: float = 99.0
    headroom: float = 0.0


FIRST_WINDOWS = {  # oedema must keep its shades in FLAIR and T2; vessels need none in T1ce
    Modality.FLAIR: WindowRule(brightest_percent=99.7),
    # grey and white matter fill T1's upper half: CSF black and room above, or all of it is pale
    Modality.T1: WindowRule(darkest_percent=5.0, brightest_percent=99.0, headroom=0.15),
    Modality.T1CE: WindowRule(darkest_percent=2.0, brightest_percent=99.0),
    Modality.T2: WindowRule(brightest_percent=98.0),
}


@dataclass(frozen=True)
class Payload:
    """A response body and what the browser must know to read it.

    Attributes
    ----------
    body : bytes
        gzip of little-endian voxels in Fortran order of the RAS+ array.
    header : mapping
        ``dtype``, and for scans ``scale``, ``offset`` (stored * scale + offset is the scan's own
        value), ``window`` (lowest and highest value shown at first) and ``box`` (first and last
        voxel that is not zero, along R, A and S).
    """

    body: bytes
    header: Mapping[str, Any]

    @property
    def header_json(self) -> str:
        """The header as it travels, on one ASCII line."""
        return json.dumps(dict(self.header))


@dataclass(frozen=True, eq=False)
class DisplayGrid:
    """The study's grid with its axes swapped and flipped, never resampled, to run R, A, S.

    Attributes
    ----------
    grid : Grid
        What the browser shows; voxel counts along R, A, S.
    to_study : (4, 4) float64 array
        Display voxel -> study voxel: a signed permutation, exact.
    """

    grid: Grid
    to_study: NDArray[np.float64]

    @classmethod
    def of(cls, study_grid: Grid) -> "DisplayGrid":
        """Find the RAS+ view of a grid."""
        orientation = io_orientation(study_grid.affine)
        to_study = np.asarray(inv_ornt_aff(orientation, study_grid.shape), dtype=np.float64)
        order = np.argsort(orientation[:, 0])
        i, j, k = (study_grid.shape[axis] for axis in order)
        return cls(Grid((i, j, k), study_grid.affine @ to_study), to_study)

    def study_voxel(self, display_voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """Index in the study's own arrays of a displayed voxel."""
        return _mapped(self.to_study, display_voxel)

    def display_voxel(self, study_voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """Where a voxel of the study is displayed."""
        return _mapped(np.linalg.inv(self.to_study).astype(np.float64), study_voxel)


def encode_scan(scan: Volume, rule: WindowRule) -> Payload:
    """Encode a scan as int16.

    Whole numbers in int16's range are kept as they are, so the read-out shows the scanner's own
    values; anything else is stored in ``STORED_STEPS`` equal steps between its extremes.

    Parameters
    ----------
    scan : Volume
        Any orientation.
    rule : WindowRule
        How the first window is found.
    """
    values = _ras(scan.values, scan.grid)
    low, high = float(values.min()), float(values.max())
    if _fits_int16(values, low, high):
        scale, offset = 1.0, 0.0
        stored = values
    else:
        scale, offset = (high - low) / STORED_STEPS or 1.0, low
        stored = np.rint((values - np.float32(offset)) / np.float32(scale))
    header = {
        "dtype": "int16",
        "scale": scale,
        "offset": offset,
        "window": window_of(scan.values, rule),
        "box": tissue_box(values),
    }
    return Payload(_packed(stored, "<i2"), header)


def encode_bytes(values: NDArray[np.uint8], grid: Grid) -> Payload:
    """Encode labels or probabilities, (I, J, K) uint8 on `grid`, exactly."""
    return Payload(_packed(_ras(values, grid), "|u1"), {"dtype": "uint8"})


def window_of(values: NDArray[np.float32], rule: WindowRule) -> tuple[float, float]:
    """Lowest and highest value to show at first: robust percentiles of the tissue (non-zero)."""
    stride = slice(None, None, max(1, round((values.size / WINDOW_SAMPLE) ** (1 / 3))))
    sample = values[stride, stride, stride]
    tissue = sample[sample != 0]
    if tissue.size == 0:
        tissue = values[values != 0] if values.any() else values.ravel()
    low, high = np.percentile(tissue, (rule.darkest_percent, rule.brightest_percent))
    if high <= low:  # a scan of one value: show it mid-grey
        low, high = low - 1, high + 1
    return float(low), float(high + rule.headroom * (high - low))


def tissue_box(values: NDArray[np.float32]) -> tuple[tuple[int, int], ...]:
    """Find the first and last voxel that is not zero along each axis; the whole array if none."""
    inside = values != 0
    box = []
    for axis in range(3):
        other = tuple(a for a in range(3) if a != axis)
        found = np.flatnonzero(inside.any(axis=other))
        box.append((int(found[0]), int(found[-1])) if found.size else (0, inside.shape[axis] - 1))
    return tuple(box)


def _ras(values: NDArray[Voxel], grid: Grid) -> NDArray[Voxel]:
    """View `values` with axes that run R, A, S."""
    reoriented: NDArray[Voxel] = apply_orientation(values, io_orientation(grid.affine))
    return reoriented


def _fits_int16(values: NDArray[np.float32], low: float, high: float) -> bool:
    limits = np.iinfo(np.int16)
    return limits.min <= low and high <= limits.max and bool((values == np.rint(values)).all())


def _packed(values: NDArray[Any], dtype: str) -> bytes:
    # C order of the transposed array is Fortran order of the array itself: x runs fastest
    return gzip.compress(values.T.astype(dtype, order="C").data, GZIP_LEVEL, mtime=0)


def _mapped(affine: NDArray[np.float64], voxel: tuple[int, int, int]) -> tuple[int, int, int]:
    i, j, k = np.rint(affine[:3, :3] @ voxel + affine[:3, 3]).astype(int).tolist()
    return i, j, k
