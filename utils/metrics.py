"""How well a predicted mask matches the reference: per region, per volume, in physical units.

Conventions, with their sources
-------------------------------
Empty regions (BraTS): both masks empty is a perfect answer (Dice 1, HD95 0 mm); exactly one empty
is a total miss (Dice 0, HD95 373.13 mm, the diagonal of the 240 x 240 x 155 mm BraTS volume).
Sensitivity, precision and surface Dice follow Dice.

Surface: the mask's voxels that its 6-connected erosion removes, outside the array counting as
background (medpy 0.5, ``medpy.metric.binary``). Distances are measured in mm between voxel centres
mapped through the affine, so they are exact on anisotropic, oblique and sheared grids alike.

HD95: the 95th percentile (numpy's linear interpolation) of the distances of both directions
pooled, as ``medpy.metric.binary.hd95`` does. The BraTS 2023 scorer instead takes the larger of two
area-weighted directed percentiles, which comes out higher where one mask strays far from the other.

Surface Dice: share of both surfaces' voxels that lie within the tolerance of the other surface
(Nikolov et al. 2021, doi:10.2196/26151), each voxel counting once, as MONAI does by default.

Lesion-wise Dice: BraTS 2023 glioma rules (github.com/rachitsaluja/BraTS-2023-Metrics), see
`lesion_scores`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from utils.grid import MM3_PER_ML, Grid
from utils.labels import Label, Region
from utils.plane import Plane

HD95_ONE_EMPTY_MM = 373.13
SURFACE_TOLERANCE_MM = 2.0
LESION_DILATIONS = 3  # lesions closer than twice this many voxels are one lesion
LESION_MINIMUM_MM3 = 50.0

_FACES_ONLY = ndimage.generate_binary_structure(3, 1)
_WITH_EDGES = ndimage.generate_binary_structure(3, 2)
_WITH_CORNERS = ndimage.generate_binary_structure(3, 3)

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class LesionScores:
    """Lesion by lesion agreement.

    Attributes
    ----------
    dice : float
        Mean over reference lesions and false positives, 0-1; 1 if there is neither.
    found, missed : int
        Reference lesions above the minimum size that a prediction touches or does not.
    false : int
        Predicted lesions that touch no reference lesion.
    """

    dice: float
    found: int
    missed: int
    false: int


@dataclass(frozen=True)
class RegionScores:
    """Agreement of one region of one patient.

    Attributes
    ----------
    dice, surface_dice, sensitivity, precision : float
        0-1; `surface_dice` at ``SURFACE_TOLERANCE_MM``.
    hd95_mm : float
        95th percentile surface distance.
    predicted_ml, reference_ml : float
        Volumes.
    lesions : LesionScores
        Lesion-wise Dice and counts.
    """

    dice: float
    hd95_mm: float
    surface_dice: float
    sensitivity: float
    precision: float
    predicted_ml: float
    reference_ml: float
    lesions: LesionScores

    @property
    def volume_error_ml(self) -> float:
        """Predicted minus reference: negative when tumour was missed."""
        return self.predicted_ml - self.reference_ml

    @property
    def absolute_volume_error_ml(self) -> float:
        """Size of the volume error, whatever its sign."""
        return abs(self.volume_error_ml)


@dataclass(frozen=True)
class NaiveScores:
    """What naive projects report. Dominated by the background: never a measure of quality.

    Attributes
    ----------
    pixel_accuracy : float
        Share of all voxels, air included, that carry the right label.
    four_class_dice : float
        Mean Dice of the four labels, background among them, over the volume.
    four_class_slice_dice : float
        The same on each axial slice, averaged over slices; labels absent from both count as 1.
    """

    pixel_accuracy: float
    four_class_dice: float
    four_class_slice_dice: float


def score(predicted: Labels, reference: Labels, grid: Grid) -> dict[Region, RegionScores]:
    """Score every region of one patient.

    Parameters
    ----------
    predicted, reference : (I, J, K) uint8 arrays
        Values of `utils.labels.Label`.
    grid : Grid
        The grid both lie on.

    Raises
    ------
    ValueError
        If an array does not fit the grid.
    """
    _refuse_misfits(predicted, reference, grid)
    box = _bounding_box((predicted > 0) | (reference > 0))
    predicted, reference = predicted[box], reference[box]
    return {
        region: _score_region(region.mask(predicted), region.mask(reference), grid)
        for region in Region
    }


def naive_scores(predicted: Labels, reference: Labels, grid: Grid) -> NaiveScores:
    """Score as naive projects do, for comparison with what they print; see `NaiveScores`.

    Raises
    ------
    ValueError
        If an array does not fit the grid.
    """
    _refuse_misfits(predicted, reference, grid)
    axial = Plane.AXIAL.array_axis(grid)
    slices = zip(np.moveaxis(predicted, axial, 0), np.moveaxis(reference, axial, 0), strict=True)
    return NaiveScores(
        pixel_accuracy=float(np.mean(predicted == reference)),
        four_class_dice=_four_class_dice(predicted, reference),
        four_class_slice_dice=float(np.mean([_four_class_dice(p, r) for p, r in slices])),
    )


def dice(predicted: Mask, reference: Mask) -> float:
    """2|A and B| / (|A| + |B|); both empty 1, one empty 0."""
    sizes = np.count_nonzero(predicted) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(predicted & reference) / sizes if sizes else 1.0


def sensitivity(predicted: Mask, reference: Mask) -> float:
    """Share of the reference that was found; both empty 1, one empty 0."""
    if not reference.any():
        return 0.0 if predicted.any() else 1.0
    return float(np.count_nonzero(predicted & reference) / np.count_nonzero(reference))


def precision(predicted: Mask, reference: Mask) -> float:
    """Share of the prediction that is right; both empty 1, one empty 0."""
    return sensitivity(reference, predicted)


def hd95_mm(predicted: Mask, reference: Mask, grid: Grid) -> float:
    """95th percentile of the pooled surface distances; both empty 0, one empty 373.13."""
    return _surface_scores(predicted, reference, grid, SURFACE_TOLERANCE_MM)[0]


def surface_dice(
    predicted: Mask, reference: Mask, grid: Grid, tolerance_mm: float = SURFACE_TOLERANCE_MM
) -> float:
    """Share of both surfaces within the tolerance of the other; both empty 1, one empty 0."""
    return _surface_scores(predicted, reference, grid, tolerance_mm)[1]


def surface_distances_mm(predicted: Mask, reference: Mask, grid: Grid) -> NDArray[np.float64]:
    """Measure from every surface voxel of each mask to the other's surface; both directions pooled.

    Parameters
    ----------
    predicted, reference : bool arrays of one shape
        Neither may be empty. They may be the same crop of volumes on `grid`.
    grid : Grid
        Supplies the voxels' axes in mm.
    """
    axes_mm = grid.affine[:3, :3]
    ours = np.argwhere(_surface(predicted)) @ axes_mm.T
    theirs = np.argwhere(_surface(reference)) @ axes_mm.T
    to_theirs, _ = KDTree(theirs).query(ours)
    to_ours, _ = KDTree(ours).query(theirs)
    return np.concatenate([to_theirs, to_ours])


def lesion_scores(predicted: Mask, reference: Mask, grid: Grid) -> LesionScores:
    """Lesion-wise Dice by the rules of the BraTS 2023 glioma challenge.

    1. The reference is dilated three times with the 18-neighbourhood, in voxels as the challenge
       does; reference voxels within one 26-connected part of the dilation are one lesion.
    2. Predicted lesions are the 26-connected parts of the prediction. All that touch a reference
       lesion's dilation belong to that lesion (to several, if they touch several): its Dice
       compares their union with the undilated lesion, and is 0 if none touches.
    3. Predicted lesions that touch no dilation are false positives, whatever their size: 0 each.
    4. Reference lesions of 50 mm3 or less are left out (their matches are no false positives).
    5. The score is the sum of Dice over reference lesions plus false positives; 1 if none is left.
    """
    box = _bounding_box(predicted | reference)
    predicted, reference = predicted[box], reference[box]
    zones, zone_count = _lesion_zones(reference)
    parts, part_count = ndimage.label(predicted, _WITH_CORNERS)
    tables = (zone_count + 1, part_count + 1)
    touched = _pair_counts(zones, parts, predicted & (zones > 0), tables) > 0
    overlap = _pair_counts(zones, parts, predicted & reference, tables).sum(axis=1)
    lesion_sizes = np.bincount(zones[reference], minlength=zone_count + 1)
    part_sizes = np.bincount(parts[predicted], minlength=part_count + 1)
    minimum_voxels = LESION_MINIMUM_MM3 / (grid.voxel_volume_ml * MM3_PER_ML)
    counted = lesion_sizes > minimum_voxels
    dices = 2 * overlap[counted] / (touched @ part_sizes + lesion_sizes)[counted]
    found = int(np.count_nonzero(touched[counted].any(axis=1)))
    false = part_count - int(np.count_nonzero(touched.any(axis=0)))
    rows = dices.size + false
    return LesionScores(
        dice=float(dices.sum()) / rows if rows else 1.0,
        found=found,
        missed=dices.size - found,
        false=false,
    )


def _score_region(predicted: Mask, reference: Mask, grid: Grid) -> RegionScores:
    hd95, within_tolerance = _surface_scores(predicted, reference, grid, SURFACE_TOLERANCE_MM)
    return RegionScores(
        dice=dice(predicted, reference),
        hd95_mm=hd95,
        surface_dice=within_tolerance,
        sensitivity=sensitivity(predicted, reference),
        precision=precision(predicted, reference),
        predicted_ml=int(predicted.sum()) * grid.voxel_volume_ml,
        reference_ml=int(reference.sum()) * grid.voxel_volume_ml,
        lesions=lesion_scores(predicted, reference, grid),
    )


def _surface_scores(
    predicted: Mask, reference: Mask, grid: Grid, tolerance_mm: float
) -> tuple[float, float]:
    """HD95 in mm and surface Dice, from one computation of the distances."""
    if not (predicted.any() or reference.any()):
        return 0.0, 1.0
    if not (predicted.any() and reference.any()):
        return HD95_ONE_EMPTY_MM, 0.0
    distances = surface_distances_mm(predicted, reference, grid)
    return float(np.percentile(distances, 95)), float(np.mean(distances <= tolerance_mm))


def _lesion_zones(reference: Mask) -> tuple[NDArray[np.int32], int]:
    """Label the parts of the dilated reference; each part holds one lesion."""
    if not reference.any():
        return np.zeros(reference.shape, np.int32), 0
    dilated = ndimage.binary_dilation(reference, _WITH_EDGES, iterations=LESION_DILATIONS)
    zones, count = ndimage.label(dilated, _WITH_CORNERS)
    return zones, int(count)


def _pair_counts(
    zones: NDArray[np.int32], parts: NDArray[np.int32], where: Mask, tables: tuple[int, int]
) -> NDArray[np.int64]:
    """(zones, parts) table of the voxels that each pair shares inside `where`."""
    codes = zones[where].astype(np.int64) * tables[1] + parts[where]
    return np.bincount(codes, minlength=tables[0] * tables[1]).reshape(tables)


def _surface(mask: Mask) -> Mask:
    surface: Mask = mask & ~ndimage.binary_erosion(mask, _FACES_ONLY)
    return surface


def _bounding_box(mask: Mask) -> Box:
    """Slices that cut `mask` out; of length 0 if it is empty.

    No margin is needed: outside the array counts as background for surfaces, and a dilation clipped
    to a box reaches and joins the same voxels of that box.
    """
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        indices = np.flatnonzero(mask.any(axis=others))
        box.append(slice(indices[0], indices[-1] + 1) if indices.size else slice(0, 0))
    return tuple(box)


def _four_class_dice(predicted: Labels, reference: Labels) -> float:
    return float(np.mean([dice(predicted == label, reference == label) for label in Label]))


def _refuse_misfits(predicted: Labels, reference: Labels, grid: Grid) -> None:
    for name, labels in (("predicted", predicted), ("reference", reference)):
        if labels.shape != grid.shape:
            raise ValueError(f"{name} labels {labels.shape} do not fit the grid {grid.shape}")
