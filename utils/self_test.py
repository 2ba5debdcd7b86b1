"""Whether this computer segments as it should: checks on a phantom whose truth is known.

Every check compares the app's own way with another one: axes swapped by nibabel against the
preprocessing's, voxels counted in the reopened file against the measurements on the screen, the
weights on disk against those that ran.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from utils.align import rearranged
from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label, Region
from utils.measure import midline_x_mm, region_volumes_ml
from utils.metrics import dice
from utils.nifti import READER_TOLERANCE_MM, read_nifti, write_labels
from utils.segmentation import Segmentation
from utils.study import Modality, Study
from utils.volume import Volume

RUNS = ("LPS", "LPS", "RAS", "PIR")
"""Axis orders in which the phantom is segmented; the first twice, for determinism."""

LEAST_DICE = 0.7
MOST_VOLUME_ERROR = 0.6  # of the truth: wide, for a synthetic head is not what models are made for
FARTHEST_MM = 8.0  # of the tumour's middle from the truth's
LEAST_SAME = 0.999  # Dice of two axis orders: a GPU may round a voxel at a border differently
LONGEST_S = 120.0

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Run:
    """One trip of the phantom through the network.

    Attributes
    ----------
    labels : (I, J, K) uint8 array
        What came out.
    grid : Grid
        The phantom's, in the axis order of this run.
    file : bytes
        The mask as it would be downloaded.
    seconds : float
        From study to labels.
    weights_sha256 : str
        Of the weights that ran.
    """

    labels: Labels
    grid: Grid
    file: bytes
    seconds: float
    weights_sha256: str

    @cached_property
    def reopened(self) -> Volume:
        """The file read again: once, though several checks look into it."""
        return read_nifti(self.file, "The mask", labels=True)[0]

    @classmethod
    def of(cls, segmentation: Segmentation) -> "Run":
        """Write the mask, and let the probabilities go.

        Raises
        ------
        MaskNotVerifiedError
            See `utils.nifti.write_labels`.
        """
        labels, grid = segmentation.labels, segmentation.grid
        made_by = segmentation.provenance
        file = write_labels(labels, grid)
        return cls(labels, grid, file, made_by.seconds, made_by.weights_sha256)


@dataclass(frozen=True)
class Check:
    """One line of the result.

    Attributes
    ----------
    title : str
        What was checked.
    passed : bool
        The tick or the cross.
    figure : str
        What was found.
    """

    title: str
    passed: bool
    figure: str


def turned(study: Study, orientation: str) -> Study:
    """The same study with its arrays stored in another axis order, e.g. ``"PIR"``."""
    return Study({m: _turned(scan, orientation) for m, scan in study.scans.items()})


def checks(
    study: Study, truth: Labels, runs: Sequence[Run], weights_sha256: str
) -> tuple[Check, ...]:
    """Judge the runs.

    Parameters
    ----------
    study : Study
        The phantom as it was made.
    truth : (I, J, K) uint8 array
        Its true labels.
    runs : sequence of Run
        One for each of ``RUNS``.
    weights_sha256 : str
        Of the weights on disk.

    Raises
    ------
    ValueError
        If a run is missing.
    """
    if len(runs) != len(RUNS):
        raise ValueError(f"{len(RUNS)} runs are judged, not {len(runs)}")
    first, again = runs[:2]
    return (
        _agreement(first, truth),
        _sides(study, truth, runs),
        _same_in_every_order(runs),
        _millilitres(runs, truth, study.grid),
        _labels(runs),
        _geometry(runs),
        _determinism(first, again),
        _speed(runs),
        _weights(runs, weights_sha256),
    )


def _turned(scan: Volume, orientation: str) -> Volume:
    change = ornt_transform(io_orientation(scan.grid.affine), axcodes2ornt(tuple(orientation)))
    values = np.ascontiguousarray(apply_orientation(scan.values, change))
    affine = scan.grid.affine @ inv_ornt_aff(change, scan.grid.shape)
    return Volume(values, Grid(values.shape, affine))


def _agreement(run: Run, truth: Labels) -> Check:
    found = dice(Region.WT.mask(run.labels), Region.WT.mask(truth))
    return Check(
        "The tumour is found",
        bool(found >= LEAST_DICE),
        f"Dice of the whole tumour {found:.3f} (at least {LEAST_DICE})",
    )


def _sides(study: Study, truth: Labels, runs: Sequence[Run]) -> Check:
    """Left stays left: the tumour's middle in the world, for every axis order."""
    midline_mm = midline_x_mm(study.scans[Modality.T1CE].values != 0, study.grid)
    true_mm = _middle_mm(truth, study.grid)
    told, passed = [], True
    for run in runs[1:]:
        if not run.labels.any():
            return Check("Left stays left", False, f"{run.grid.orientation}: nothing was found")
        middle_mm = _middle_mm(run.labels, run.grid)
        off_mm = float(np.linalg.norm(middle_mm - true_mm))
        side = "right" if middle_mm[0] > midline_mm else "left"
        passed &= (middle_mm[0] > midline_mm) == (true_mm[0] > midline_mm) and off_mm <= FARTHEST_MM
        told.append(f"{run.grid.orientation} {side}, {off_mm:.1f} mm from the truth")
    return Check("Left stays left", bool(passed), "; ".join(told))


def _same_in_every_order(runs: Sequence[Run]) -> Check:
    reference = runs[0]
    worst = 1.0
    for run in runs[1:]:
        back = rearranged(run.labels, run.grid, reference.grid)
        worst = min(worst, 0.0 if back is None else _least_dice(back, reference.labels))
    return Check(
        "Every axis order gives the same mask",
        worst >= LEAST_SAME,
        f"least Dice between two of {', '.join(dict.fromkeys(RUNS))}: {worst:.4f}",
    )


def _millilitres(runs: Sequence[Run], truth: Labels, grid: Grid) -> Check:
    """Against the truth, and against voxels counted in the reopened file."""
    true_ml = region_volumes_ml(truth, grid)[Region.WT]
    errors, drift_ml = [], 0.0
    for run in runs:
        shown_ml = region_volumes_ml(run.labels, run.grid)[Region.WT]
        # edges of a voxel multiplied out: not the determinant that the app uses
        a, b, c = run.reopened.grid.affine[:3, :3].T
        voxel_ml = abs(float(np.cross(a, b) @ c)) / 1000
        counted_ml = np.count_nonzero(run.reopened.values) * voxel_ml
        drift_ml = max(drift_ml, abs(shown_ml - counted_ml))
        errors.append(shown_ml / true_ml - 1)
    worst = max(errors, key=abs)
    shown = true_ml * (1 + worst)
    return Check(
        "Millilitres",
        abs(worst) <= MOST_VOLUME_ERROR and drift_ml < 0.001,
        f"shown and counted in the reopened file: equal to {drift_ml:.3f} mL; {shown:.1f} mL found "
        f"of {true_ml:.1f} mL ({worst:+.0%}, the model's own error on a synthetic head)",
    )


def _labels(runs: Sequence[Run]) -> Check:
    expected = {int(label) for label in Label}
    found: set[int] = set()
    for run in runs:
        found |= {int(value) for value in np.unique(run.reopened.values)}
    return Check("Labels", found == expected, f"{sorted(found)} in the files")


def _geometry(runs: Sequence[Run]) -> Check:
    """The file reopened lies where the scan lies and holds what was shown."""
    shift_mm, changed = 0.0, 0
    for run in runs:
        shift_mm = max(shift_mm, run.reopened.grid.displacement_mm(run.grid))
        if run.reopened.values.shape == run.labels.shape:
            changed += int(np.count_nonzero(run.reopened.values != run.labels))
    return Check(
        "The mask's place, reopened",
        shift_mm <= READER_TOLERANCE_MM and changed == 0,
        f"off by {shift_mm:.4f} mm, {changed} voxels changed",
    )


def _determinism(first: Run, again: Run) -> Check:
    hashes = [hashlib.sha256(run.file).hexdigest()[:12] for run in (first, again)]
    same = hashes[0] == hashes[1]
    figure = f"twice {hashes[0]} …" if same else f"{hashes[0]} …, then {hashes[1]} …"
    return Check("Two runs, equal bytes", same, figure)


def _speed(runs: Sequence[Run]) -> Check:
    slowest = max(run.seconds for run in runs)
    figure = f"{min(run.seconds for run in runs):.1f} to {slowest:.1f} s a study"
    return Check("Speed", slowest <= LONGEST_S, f"{figure} (at most {LONGEST_S:.0f} s)")


def _weights(runs: Sequence[Run], weights_sha256: str) -> Check:
    ran = {run.weights_sha256 for run in runs}
    figure = f"{weights_sha256[:12]} … on disk, " + ", ".join(f"{h[:12]} …" for h in sorted(ran))
    return Check("The model's weights", ran == {weights_sha256}, f"{figure} ran")


def _middle_mm(labels: Labels, grid: Grid) -> NDArray[np.float64]:
    voxels = np.argwhere(labels).mean(axis=0)
    middle: NDArray[np.float64] = (grid.affine @ np.append(voxels, 1))[:3]
    return middle


def _least_dice(first: Labels, second: Labels) -> float:
    """The least Dice of any tumour label."""
    return min(dice(first == label, second == label) for label in TUMOUR_LABELS)
