"""The voxel values of one scan: what can be repaired is, what cannot be an MR scan is refused."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.notice import Notice
from utils.upload import refuse
from utils.volume import Values

FEW = 1e-3
"""Share of the head that may lack a value; an artefact, not a hole."""

OUTLIER = 10.0
"""Times the 99.9th percentile. The brightest voxel of 124 real BraTS scans is 2.3 times theirs."""

LABEL_VALUES = 8
LABEL_SHARE = 0.98
"""A label map keeps this share of its voxels in so few values; real 8-bit scans reach 0.4."""

WHOLE_SHARE = 0.03
"""Share of whole numbers, to 0.001, that a scan scaled to 0-8 does not reach (0.002 by chance)."""

AIR_SHARE = 0.6
"""Share of the faces of the volume that one value must fill to be called air."""

AIR_HU, SOFT_TISSUE_HU = -900.0, 150.0

_SAMPLE = 400_000
_Scalar = TypeVar("_Scalar", bound=np.generic)


def repair(values: Values, subject: str) -> tuple[Values, tuple[Notice, ...]]:
    """Make values fit to be normalised, in place where possible.

    Parameters
    ----------
    values : (I, J, K) float32 or int16 array
        As stored, after slope and intercept; every repair keeps whole numbers whole.
    subject : str
        How messages name the scan.

    Returns
    -------
    values : (I, J, K) float32 or int16 array
        All finite, air 0, no outliers.
    notices : tuple of Notice
        What was changed.

    Raises
    ------
    UnreadableVolumeError
        If the image is blank, a label map, or lacks values inside the head.
    """
    air, filled = _fill_missing(values, subject)
    _refuse_blank(values, subject)
    _refuse_label_map(values, air, subject)
    notices = (*filled, *_suspect_ct(values, subject))
    values, shifted = _zero_air(values, air, subject)
    return values, (*notices, *shifted, *_clip_outliers(values, subject))


def _fill_missing(values: Values, subject: str) -> tuple[float, tuple[Notice, ...]]:
    """Find the air; set NaN and infinite voxels to it if they are outside the head or few."""
    if values.dtype == np.int16:
        return _air(values), ()
    missing = ~np.isfinite(values)
    count = int(missing.sum())
    if not count:
        return _air(values), ()
    # a scan that was moved into a larger grid begins where it has values
    air = _air(values[_box(~missing)]) if count < values.size else 0.0
    values[missing] = air
    head = values != air
    if not head.any():
        refuse(
            subject,
            "no voxel has a usable value (beside air, all are NaN or infinite)",
            "Export the scan again without post-processing",
        )
    inside = int((missing & _hull(head)).sum())
    if inside > FEW * int(head.sum()):
        refuse(
            subject,
            f"{inside:,} voxels inside the head have no usable value (NaN or infinite)",
            "Export the scan again without post-processing",
        )
    text = f"{subject}: {_voxels(count)} without a finite value were set to 0."
    return air, (Notice("not-finite", subject, text),)


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box that holds all of a mask."""
    box: tuple[slice, ...] = ndimage.find_objects(mask.view(np.uint8))[0]
    return box


def _hull(head: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels that have head on both sides along every axis."""
    hull = np.ones_like(head)
    for axis in range(3):
        hull &= np.maximum.accumulate(head, axis)
        hull &= np.flip(np.maximum.accumulate(np.flip(head, axis), axis), axis)
    return hull


def _refuse_blank(values: Values, subject: str) -> None:
    if values.min() == values.max():
        refuse(
            subject,
            f"the image is blank: every voxel is {values.flat[0]:g}",
            "Choose the scan itself, or export it again",
        )


def _refuse_label_map(values: Values, air: float, subject: str) -> None:
    """Few values that fill nearly all of the foreground are labels; so are small whole numbers."""
    sample = _sample(_except(values, air))
    counts = np.sort(np.unique(sample, return_counts=True)[1])[::-1]
    few = counts[:LABEL_VALUES].sum() >= LABEL_SHARE * len(sample)
    small = sample.min() >= 0 and sample.max() <= LABEL_VALUES
    # labels that were interpolated: fractions at the borders, whole numbers within
    whole = (np.abs(sample - np.round(sample)) < 1e-3) & (sample > 0.5)
    if few or (small and whole.mean() >= WHOLE_SHARE):
        refuse(
            subject,
            "this is a label map or mask, not a scan (its voxels hold only a few values)",
            "Choose the MR series for this slot",
        )


def _suspect_ct(values: Values, subject: str) -> tuple[Notice, ...]:
    """Hounsfield units give CT away: air near -1000, and half of the rest soft tissue near 0."""
    sample = _sample(values.ravel(order="K"))
    tissue = sample[sample > -500]
    soft = (np.abs(tissue) < SOFT_TISSUE_HU).mean() if len(tissue) else 0
    if (sample <= AIR_HU).mean() < 0.05 or soft < 0.5:
        return ()
    text = f"{subject}: this looks like CT; it is outside the training data (MR)."
    return (Notice("looks-like-ct", subject, text, consent=True),)


def _zero_air(values: Values, air: float, subject: str) -> tuple[Values, tuple[Notice, ...]]:
    if air == 0:
        return values, ()
    shifted = values.astype(np.float32, copy=False)  # which int16 might not hold
    shifted -= np.float32(air)
    text = f"{subject}: air was stored as {air:g}; values were shifted so that air is 0."
    return shifted, (Notice("air-shifted", subject, text),)


def _air(values: Values) -> float:
    """Find the value that most finite voxels on the volume's faces have, or 0 if there is none."""
    faces: NDArray[Any] = faces_of(values)
    faces = faces[np.isfinite(faces)]
    middle = float(np.median(faces))
    return middle if (faces == middle).mean() >= AIR_SHARE else 0.0


def _except(values: Values, background: float) -> Values:
    """All values but one, in the order of memory: any other takes ten times as long."""
    flat = values.ravel(order="K")
    kept: Values = flat[flat != background]
    return kept


def _sample(flat: Values) -> NDArray[np.float32]:
    """Some hundred thousand of the values, evenly spread, as numbers to calculate with."""
    return flat[:: len(flat) // _SAMPLE + 1].astype(np.float32)


def faces_of(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """All voxels on the six faces of a volume, edges repeated."""
    ends = (values[0], values[-1], values[:, 0], values[:, -1], values[..., 0], values[..., -1])
    return np.concatenate([end.ravel() for end in ends])


def _clip_outliers(values: Values, subject: str) -> tuple[Notice, ...]:
    """Bring single voxels far outside the rest back to the brightest or darkest of the rest."""
    limit = OUTLIER * float(np.percentile(np.abs(_sample(_except(values, 0))), 99.9))
    furthest = max(-float(values.min()), float(values.max()))
    if furthest <= limit:
        return ()
    inside = (values >= -limit) & (values <= limit)
    count = values.size - int(np.count_nonzero(inside))
    usual = values[inside]
    low, high = min(usual.min(), 0), max(usual.max(), 0)
    np.clip(values, low, high, out=values)
    text = (
        f"{subject}: {_voxels(count)} far outside the other values "
        f"(up to {furthest:.3g}) were clipped to {high:.3g}."
    )
    return (Notice("outliers", subject, text),)


def _voxels(count: int) -> str:
    return "1 voxel" if count == 1 else f"{count:,} voxels"
