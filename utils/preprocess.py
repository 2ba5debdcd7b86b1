"""Study to network input, and network output back to the study's grid."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter1d
from sklearn.preprocessing import MinMaxScaler

from utils.errors import EmptyStudyError, ImplausibleStudyError
from utils.grid import Grid
from utils.study import Study
from utils.volume import Values

SPACING_TOLERANCE = 0.01  # relative; below it resampling would only blur
MAX_RESAMPLED_VOXELS = 40_000_000  # 34 cm along each axis: more than any head
LEAST_DEVIATION = 1e-3  # of a scaled scan: one without contrast stays without
LEAST_RANGE = 1e-12  # scikit-learn takes one below 2e-15 for the rounding of a constant
Box = tuple[slice, slice, slice]
Scalar = TypeVar("Scalar", np.float32, np.int16, np.uint8, np.bool_)


@dataclass(frozen=True, kw_only=True)
class PreprocessSpec:
    """What a network was trained on; saved with its weights and compared when they are loaded.

    Attributes
    ----------
    orientation : str
        Axis order and directions of the network's input; BraTS 2020 stores its arrays as LPS.
    spacing_mm : float
        Edge of the network's cubic voxels.
    lower_percentile, upper_percentile : float
        Brain intensities are clipped to these before MinMax scaling, per modality: one hot voxel
        must not decide the contrast of a head.
    """

    orientation: str = "LPS"
    spacing_mm: float = 1.0
    lower_percentile: float = 0.1
    upper_percentile: float = 99.9


SPEC = PreprocessSpec()
"""The one preprocessing this code implements."""


@dataclass(frozen=True)
class Placement:
    """How a network input was cut from a study, so that the output can be put back.

    Attributes
    ----------
    grid : Grid
        The study's grid.
    box : three slices
        The brain's bounding box in the network's orientation.
    zoom : 3 floats
        Network voxels per study voxel along each reoriented axis; all 1 if nothing was resampled.
    resampled : (i, j, k)
        Shape of the box on the network's spacing, before padding.
    """

    grid: Grid
    box: Box
    zoom: tuple[float, ...]
    resampled: tuple[int, ...]

    @property
    def steps(self) -> tuple[str, ...]:
        """What was done to the study, and undone again, in words for the provenance."""
        turned = f"reoriented from {self.grid.orientation} to {SPEC.orientation} and back"
        resampled = f"resampled to {SPEC.spacing_mm:g} mm and back, linearly"
        low, high = SPEC.lower_percentile, SPEC.upper_percentile
        scaled = (
            f"each scan MinMax-scaled over the brain between its {low:g} and {high:g} percentiles"
        )
        return (turned, *([] if self._extent == self.resampled else [resampled]), scaled)

    @property
    def _extent(self) -> tuple[int, ...]:
        """Shape of the box in the study's own voxels."""
        return tuple(s.stop - s.start for s in self.box)

    def restore(self, probabilities: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Put (i, j, k, C) values back on the study's grid, (I, J, K, C), zero around them."""
        i, j, k = self.resampled
        inside = probabilities[:i, :j, :k]
        full = np.zeros((*self.grid.shape, probabilities.shape[-1]), probabilities.dtype)
        box = _reorient(full, self.grid.orientation, SPEC.orientation)[self.box]  # a view of it
        if self._extent == self.resampled:
            box[:] = inside
            return full
        back = tuple(1 / z for z in self.zoom)
        for channel in range(full.shape[-1]):  # one at a time: on large grids each is large
            box[..., channel] = _resample(inside[..., channel], back, self._extent)
        return full


def preprocess(study: Study, multiple: int = 1) -> tuple[NDArray[np.float32], Placement]:
    """Reorient, crop to the brain, MinMax-scale each modality, resample to 1 mm, pad.

    Parameters
    ----------
    study : Study
        Skull-stripped: the brain is wherever any modality is not zero.
    multiple : int
        Each axis is padded to a multiple of it.

    Returns
    -------
    tensor : (i, j, k, 4) float32 array
        In [0, 1], channels in `Modality` order; 0 outside the brain.
    placement : Placement
        Puts the prediction back.

    Raises
    ------
    EmptyStudyError
        If every voxel of every scan is zero.
    ImplausibleStudyError
        If what is not zero is larger than any head.
    """
    brain = np.zeros(study.grid.shape, np.bool_, order="F")  # as files store their voxels
    for scan in study.scans.values():
        brain |= scan.stored != 0
    brain = _reorient(brain, study.grid.orientation, SPEC.orientation)
    box = _bounding_box(brain)
    zoom = _zoom(study.grid)
    inside = np.ascontiguousarray(brain[box])
    size = tuple(max(1, round(n * z)) for n, z in zip(inside.shape, zoom, strict=True))
    if np.prod(size, dtype=float) > MAX_RESAMPLED_VOXELS:
        raise ImplausibleStudyError(_too_large(size))
    padded = (-(-n // multiple) * multiple for n in size)
    tensor = np.zeros((*padded, len(study.scans)), np.float32)
    for channel, scan in enumerate(study.scans.values()):  # one at a time: large heads must fit
        scaled = _minmax(_cropped(scan.stored, study.grid, box), inside)
        if size != scaled.shape:
            scaled = _resample(scaled, zoom, size)
        tensor[: size[0], : size[1], : size[2], channel] = scaled
    return tensor, Placement(study.grid, box, zoom, size)


def standardise(tensor: NDArray[np.float32]) -> None:
    """Bring each MinMax-scaled scan of a head to mean 0 and deviation 1 over the brain, in place.

    Parameters
    ----------
    tensor : (i, j, k, C) float32 array
        From `preprocess`; outside the brain 0, which it stays.
    """
    scans = np.moveaxis(tensor, -1, 0)  # NumPy is slow along an axis of four
    brain = np.logical_or.reduce([scan != 0 for scan in scans])
    if not brain.any():
        return
    voxels = tensor[brain]
    for scan in voxels.T:
        exact = scan.astype(np.float64)
        scan -= np.float32(exact.mean())
        scan /= np.float32(max(exact.std(), LEAST_DEVIATION))
    tensor[brain] = voxels


def _cropped(stored: Values, grid: Grid, box: Box) -> NDArray[np.float32]:
    """(i, j, k) box in the network's orientation; large scans are mostly air, never copied."""
    turned: NDArray[Any] = _reorient(stored, grid.orientation, SPEC.orientation)
    return turned[box].astype(np.float32, order="C")


def _minmax(values: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scale brain voxels to [0, 1], over the whole volume, in place; the rest is 0."""
    voxels = values[brain]
    bounds = np.percentile(voxels, [SPEC.lower_percentile, SPEC.upper_percentile])
    clipped = np.clip(voxels, *bounds)
    if 0 < np.ptp(bounds) < LEAST_RANGE:
        clipped /= np.ptp(bounds)
    scaler = MinMaxScaler(clip=True, copy=False)
    values[brain] = scaler.fit_transform(clipped[:, None])[:, 0]
    return values


def _zoom(grid: Grid) -> tuple[float, ...]:
    """Network voxels per study voxel, along the axes of the network's orientation."""
    order = _turn(grid.orientation, SPEC.orientation)[:, 0]
    spacing = np.empty(3)
    spacing[order.astype(int)] = grid.spacing_mm
    zoom = spacing / SPEC.spacing_mm
    zoom[np.abs(zoom - 1) < SPACING_TOLERANCE] = 1
    return tuple(zoom.tolist())


def _resample(
    values: NDArray[Scalar], zoom: tuple[float, ...], shape: tuple[int, ...]
) -> NDArray[Scalar]:
    """Linear resampling in which the outer faces of the two grids coincide."""
    smooth = values.astype(np.float32)
    for axis, z in enumerate(zoom):
        if z < 1:  # keep what the coarser grid cannot hold from aliasing into it
            smooth = gaussian_filter1d(smooth, 0.4 * (1 / z - 1), axis)
    step = 1 / np.array(zoom)
    out = affine_transform(smooth, step, step / 2 - 0.5, shape, order=1, mode="nearest")
    resampled: NDArray[Scalar] = (out.round() if values.dtype == np.uint8 else out).astype(
        values.dtype
    )
    return resampled


def _reorient(array: NDArray[Scalar], source: str, target: str) -> NDArray[Scalar]:
    """View of an array, its first three axes flipped and permuted from one axis code to another."""
    reoriented: NDArray[Scalar] = apply_orientation(array, _turn(source, target))
    return reoriented


def _turn(source: str, target: str) -> NDArray[np.float64]:
    """Flips and permutation from one axis code to another, as nibabel writes them."""
    return np.asarray(ornt_transform(axcodes2ornt(source), axcodes2ornt(target)))


def _too_large(size: tuple[int, ...]) -> str:
    extent = " x ".join(f"{n * SPEC.spacing_mm / 10:.0f}" for n in size)
    return (
        f"The scans show something of {extent} cm, which is no head. Check the voxel size in their "
        "headers, and export them again."
    )


def _bounding_box(mask: NDArray[np.bool_]) -> Box:
    if not mask.any():
        raise EmptyStudyError("All four scans are blank: every voxel is zero. Export them again.")
    x, y, z = (np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    return tuple(slice(int(a[0]), int(a[-1]) + 1) for a in (x, y, z))  # type: ignore[return-value]
