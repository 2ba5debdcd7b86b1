"""Two visits of one head on one grid: exactly where no voxel has to be invented, else rigidly."""

import time
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from scipy import ndimage

from utils.errors import GridMismatchError
from utils.grid import Grid
from utils.study import GRID_TOLERANCE_MM
from utils.volume import Volume

WORKING_MM = 2.0  # finer voxels cost eight times as long and gain less than 0.1 mm
LONGEST_S = 20.0
SEED = 20240229
LEAST_OVERLAP = 0.8
"""Dice of the two heads below which no alignment is believed; visits of one head reach 0.95."""

_ITK: Any = SimpleITK  # untyped
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HISTOGRAM_BINS = 32
_SHRINK = (4, 2, 1)
_SMOOTHING_MM = (6.0, 3.0, 1.0)
_SAMPLED = (0.9, 0.15, 0.03)  # some ten thousand voxels at every level
_ITERATIONS = 100
_STEP_MM, _LAST_STEP_MM, _RELAXATION = 2.0, 0.01, 0.7

Scalar = TypeVar("Scalar", np.float32, np.uint8, np.int32)


@dataclass(frozen=True, eq=False)
class Alignment:
    """How an earlier scan lies relative to the current one, and how well that is known.

    Attributes
    ----------
    to_earlier : (4, 4) float64 array, read-only
        Where a point of the current visit, in RAS+ mm, was in the earlier one.
    shift_mm : float
        How far the middle of the head has moved.
    rotation_deg : float
        How far the head has turned.
    overlap_before, overlap : float
        Dice of the two heads' outlines as uploaded, and once aligned.
    correlation_before, correlation : float
        Of the two scans' intensities where either shows the head, likewise.
    """

    to_earlier: NDArray[np.float64]
    shift_mm: float
    rotation_deg: float
    overlap_before: float
    overlap: float
    correlation_before: float
    correlation: float

    def __post_init__(self) -> None:
        self.to_earlier.flags.writeable = False


@dataclass(frozen=True, eq=False)
class Passage:
    """The way of arrays from the earlier visit's voxels onto the current ones.

    Attributes
    ----------
    source, target : Grid
        The earlier visit's, and the current one's.
    alignment : Alignment or None
        The motion between them; None if the voxels are the same, perhaps in another order.
    """

    source: Grid
    target: Grid
    alignment: Alignment | None = None

    @classmethod
    def direct(cls, source: Grid, target: Grid) -> "Passage | None":
        """The way that invents no voxel; None if there is none."""
        probe = np.broadcast_to(np.uint8(0), source.shape)
        return None if rearranged(probe, source, target) is None else cls(source, target)

    def bring(self, values: NDArray[Scalar]) -> NDArray[Scalar]:
        """Carry an array over: exactly, or as `carried` does.

        Raises
        ------
        ValueError
            If there is neither a motion nor a direct way.
        """
        if self.alignment is not None:
            return carried(values, self.source, self.target, self.alignment.to_earlier)
        moved = rearranged(values, self.source, self.target)
        if moved is None:
            raise ValueError("these grids need an alignment")
        return moved


def rearranged(values: NDArray[Scalar], source: Grid, target: Grid) -> NDArray[Scalar] | None:
    """Swap and flip axes so that `values` lie on another grid.

    Parameters
    ----------
    values : (I, J, K) array
        Anything on `source`.
    source, target : Grid
        Where it lies, and where it is wanted.

    Returns
    -------
    array of the target's shape, or None
        The same voxels in another order; None if a corner would be off by more than
        ``GRID_TOLERANCE_MM``: then it takes resampling.
    """
    steps = np.linalg.solve(source.affine[:3, :3], target.affine[:3, :3])
    axes = np.abs(steps).argmax(axis=0)  # the source's axis along each of the target's
    if sorted(axes) != [0, 1, 2]:
        return None
    backwards = [bool(steps[axis, n] < 0) for n, axis in enumerate(axes)]
    moved = values.transpose(axes)[tuple(slice(None, None, -1 if b else 1) for b in backwards)]
    to_source = np.zeros((4, 4))
    to_source[3, 3] = 1
    for n, (axis, flipped) in enumerate(zip(axes, backwards, strict=True)):
        to_source[axis, n] = -1 if flipped else 1
        to_source[axis, 3] = source.shape[axis] - 1 if flipped else 0
    i, j, k = moved.shape
    shift_mm = Grid((i, j, k), source.affine @ to_source).displacement_mm(target)
    return moved if shift_mm <= GRID_TOLERANCE_MM else None


def refuse_grid(subject: str, found: Grid, wanted: Grid) -> GridMismatchError:
    """Say in one sentence how far a mask is from the grid it should lie on."""
    shift_mm = found.displacement_mm(wanted)
    amount = f"off by {shift_mm:.1f} mm" if np.isfinite(shift_mm) else "another number of voxels"
    return GridMismatchError(
        f"{subject} does not lie on the same voxels ({amount}): {_described(found)} against "
        f"{_described(wanted)}. Resample it onto the study's grid with nearest neighbour and "
        "upload it again."
    )


def align(earlier: Volume, current: Volume, longest_s: float = LONGEST_S) -> Alignment:
    """Find the rigid motion between two scans of one contrast and one head.

    Mattes' mutual information over three rotations and a translation, from coarse to fine, on one
    thread with a fixed seed: the same scans give the same answer.

    Parameters
    ----------
    earlier, current : Volume
        Skull-stripped, 0 outside the head.
    longest_s : float
        When to give up; a computer with nothing else to do takes about 3 s.

    Raises
    ------
    GridMismatchError
        If one is empty, if the heads do not overlap by ``LEAST_OVERLAP`` afterwards, or if
        `longest_s` did not suffice: then there is nothing to go by.
    """
    if not (earlier.values.any() and current.values.any()):
        raise GridMismatchError(
            "A scan without a single voxel of tissue cannot be aligned. Choose another scan."
        )
    fixed, moving = _working_image(current), _working_image(earlier)
    to_earlier = _as_matrix(_best_transform(fixed, moving, longest_s))
    working = _grid_of(fixed)
    head = _values(fixed)
    overlap_before, correlation_before = _agreement(head, _moved(moving, working, np.eye(4)))
    overlap, correlation = _agreement(head, _moved(moving, working, to_earlier))
    if overlap < LEAST_OVERLAP:
        raise GridMismatchError(
            f"The earlier scan could not be aligned: the two heads overlap by {overlap:.0%} "
            f"({LEAST_OVERLAP:.0%} needed). Check that both scans are of one patient and "
            "skull-stripped alike, or co-register them elsewhere."
        )
    return Alignment(
        to_earlier=to_earlier,
        shift_mm=_shift_mm(to_earlier, current),
        rotation_deg=_rotation_deg(to_earlier),
        overlap_before=overlap_before,
        overlap=overlap,
        correlation_before=correlation_before,
        correlation=correlation,
    )


def carried(
    values: NDArray[Scalar], source: Grid, target: Grid, to_source: NDArray[np.float64]
) -> NDArray[Scalar]:
    """Carry an array onto another grid along a rigid motion.

    Parameters
    ----------
    values : (I, J, K) array on `source`
        Whole numbers are labels, carried with nearest neighbour; floats linearly.
    to_source : (4, 4) array
        Where a point of the target, in RAS+ mm, lies in the source's space.

    Returns
    -------
    array of the target's shape
        0 where the source was not scanned.
    """
    matrix = np.linalg.inv(source.affine) @ to_source @ target.affine
    order = 1 if np.issubdtype(values.dtype, np.floating) else 0
    moved: NDArray[Scalar] = ndimage.affine_transform(
        values, matrix[:3, :3], matrix[:3, 3], target.shape, order=order
    )
    return moved


def _working_image(scan: Volume) -> Any:
    """The scan on voxels of ``WORKING_MM``, as ITK holds it."""
    image = _ITK.GetImageFromArray(np.ascontiguousarray(scan.values.T, dtype=np.float32))
    spacing = np.array(scan.grid.spacing_mm)
    affine = _LPS_TO_RAS @ scan.grid.affine
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    size = np.maximum(1, np.ceil(np.array(scan.grid.shape) * spacing / WORKING_MM)).astype(int)
    smooth = _ITK.SmoothingRecursiveGaussian(image, WORKING_MM / 3)
    return _ITK.Resample(
        smooth,
        size.tolist(),
        _ITK.Transform(),
        _ITK.sitkLinear,
        image.GetOrigin(),
        [WORKING_MM] * 3,
        image.GetDirection(),
        0.0,
    )


def _best_transform(fixed: Any, moving: Any, longest_s: float) -> Any:
    """The rigid transform that the registration ends at."""
    registration = _registration(fixed)
    registration.SetInitialTransform(_start(fixed, moving), inPlace=False)
    deadline = time.monotonic() + longest_s
    timed_out = []

    def watch() -> None:
        if time.monotonic() > deadline:
            timed_out.append(True)
            registration.StopRegistration()

    registration.AddCommand(_ITK.sitkIterationEvent, watch)
    found = registration.Execute(fixed, moving)
    if timed_out:
        raise GridMismatchError(
            f"The earlier scan could not be aligned within {longest_s:.0f} s. Try again when the "
            "computer is less busy, or co-register the scans elsewhere."
        )
    return found


def _start(fixed: Any, moving: Any) -> Any:
    """Whichever lays the heads better on one another: the scans as they are, or their centres."""
    centred = _ITK.Euler3DTransform(
        _ITK.CenteredTransformInitializer(
            fixed, moving, _ITK.Euler3DTransform(), _ITK.CenteredTransformInitializerFilter.MOMENTS
        )
    )
    as_is = _ITK.Euler3DTransform(centred)  # turns about the same point
    as_is.SetTranslation((0.0, 0.0, 0.0))
    head, grid = _values(fixed), _grid_of(fixed)

    def overlap(start: Any) -> float:
        return _agreement(head, _moved(moving, grid, _as_matrix(start)))[0]

    return max((as_is, centred), key=overlap)


def _registration(fixed: Any) -> Any:
    registration = _ITK.ImageRegistrationMethod()
    registration.SetNumberOfThreads(1)  # sums in one order: the same answer every time
    registration.SetMetricAsMattesMutualInformation(_HISTOGRAM_BINS)
    registration.SetMetricSamplingStrategy(registration.RANDOM)
    registration.SetMetricSamplingPercentagePerLevel(_SAMPLED, SEED)
    registration.SetMetricFixedMask(_ITK.BinaryDilate(fixed > 0, [2, 2, 2]))
    registration.SetInterpolator(_ITK.sitkLinear)
    registration.SetShrinkFactorsPerLevel(_SHRINK)
    registration.SetSmoothingSigmasPerLevel(_SMOOTHING_MM)
    registration.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetOptimizerAsRegularStepGradientDescent(
        learningRate=_STEP_MM,
        minStep=_LAST_STEP_MM,
        numberOfIterations=_ITERATIONS,
        relaxationFactor=_RELAXATION,
    )
    return registration


def _as_matrix(transform: Any) -> NDArray[np.float64]:
    """(4, 4) RAS+ matrix of an ITK transform, which maps LPS points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for axis in range(3):
        unit = [0.0, 0.0, 0.0]
        unit[axis] = 1.0
        matrix[:3, axis] = np.array(transform.TransformPoint(unit)) - origin
    matrix[:3, 3] = origin
    # beyond the sixth decimal, 0.0001 mm, the answer depends on how threads shared out a sum
    return np.asarray(np.round(_LPS_TO_RAS @ matrix @ _LPS_TO_RAS, 6))


def _values(image: Any) -> NDArray[np.float32]:
    return np.asarray(_ITK.GetArrayFromImage(image).T, dtype=np.float32)


def _grid_of(image: Any) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    i, j, k = image.GetSize()
    return Grid((i, j, k), _LPS_TO_RAS @ affine)


def _moved(moving: Any, target: Grid, to_source: NDArray[np.float64]) -> NDArray[np.float32]:
    return carried(_values(moving), _grid_of(moving), target, to_source)


def _agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[float, float]:
    """Dice of two heads' outlines, and the correlation of the intensities within either."""
    ours, theirs = first > first.max() / 100, second > second.max() / 100
    either = ours | theirs
    dice = 2 * np.count_nonzero(ours & theirs) / (np.count_nonzero(ours) + np.count_nonzero(theirs))
    inside = first[either], second[either]
    flat = min(values.std() for values in inside) == 0
    return float(dice), 0.0 if flat else float(np.corrcoef(*inside)[0, 1])


def _shift_mm(to_earlier: NDArray[np.float64], current: Volume) -> float:
    """How far the middle of the head moves."""
    voxels = np.argwhere(current.values != 0).mean(axis=0)
    middle = current.grid.affine @ np.append(voxels, 1)
    return float(np.linalg.norm((to_earlier @ middle - middle)[:3]))


def _rotation_deg(to_earlier: NDArray[np.float64]) -> float:
    cosine = (np.trace(to_earlier[:3, :3]) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _described(grid: Grid) -> str:
    voxels = " x ".join(map(str, grid.shape))
    spacing = " x ".join(f"{size:.2f}" for size in grid.spacing_mm)
    return f"{voxels} voxels of {spacing} mm, {grid.orientation}"
