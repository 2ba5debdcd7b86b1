"""Numbers a report needs: volumes, lesions, diameters; in mL and mm on every grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import cast

import numpy as np
from contourpy import LineType, contour_generator
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist, squareform

from utils.grid import Grid
from utils.labels import TUMOUR_LABELS, Label, Region
from utils.plane import Plane
from utils.study import Modality, Study

MEASURABLE_MM = 10.0  # RANO: both diameters at least this long
LEAST_SHOWN_ML = 0.1  # less is not told as 0.0
MIDLINE_HALF_WIDTH_MM = 5.0  # closer to the midline than this, a side would be a guess
MOST_PAIRS = 1_000_000  # of corners and segments looked at together: tens of megabytes

_WITH_CORNERS = ndimage.generate_binary_structure(3, 3)
_PLANE_WITH_CORNERS = ndimage.generate_binary_structure(2, 2)
_HALF_WAY = 0.5

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Point = tuple[float, float, float]


class Side(Enum):
    """Where a lesion's centroid lies, from the patient's own point of view."""

    LEFT = "left"
    RIGHT = "right"
    MIDLINE = "midline"


@dataclass(frozen=True)
class Diameters:
    """Two perpendicular diameters on one axial slice, in the manner of RANO.

    Attributes
    ----------
    longest_mm, perpendicular_mm : float
        Lengths.
    slice_index : int
        Slice number along the grid's axial array axis.
    longest_ends, perpendicular_ends : pairs of (i, j, k)
        Where the lines end, in voxel indices (fractions of voxels), to draw them.
    """

    longest_mm: float
    perpendicular_mm: float
    slice_index: int
    longest_ends: tuple[Point, Point]
    perpendicular_ends: tuple[Point, Point]

    @property
    def product_mm2(self) -> float:
        """Bidimensional product."""
        return self.longest_mm * self.perpendicular_mm

    @property
    def measurable(self) -> bool:
        """Whether both diameters reach ``MEASURABLE_MM``."""
        return min(self.longest_mm, self.perpendicular_mm) >= MEASURABLE_MM


@dataclass(frozen=True)
class Lesion:
    """One 26-connected part of a region.

    Attributes
    ----------
    number : int
        1 for the largest; its value in `lesion_map`.
    voxels : int
        Size.
    volume_ml : float
        Size in millilitres.
    centroid_mm : (x, y, z)
        Mean position of its voxels in RAS+ world space.
    side : Side or None
        Side of the midline on which the centroid lies; None if no midline was given.
    extent_mm : (x, y, z)
        Size of its box along the body's right-left, front-back and up-down axes.
    volumes_ml : Mapping[Region, float]
        How much of each region it contains.
    diameters : Diameters or None
        Of its enhancing part; None if nothing in it enhances.
    """

    number: int
    voxels: int
    volume_ml: float
    centroid_mm: Point
    side: Side | None
    extent_mm: Point
    volumes_ml: Mapping[Region, float]
    diameters: Diameters | None


def region_volumes_ml(labels: Labels, grid: Grid) -> dict[Region, float]:
    """Volume of each BraTS region; (I, J, K) labels on `grid`."""
    return {
        region: int(np.count_nonzero(region.mask(labels))) * grid.voxel_volume_ml
        for region in Region
    }


def label_volumes_ml(labels: Labels, grid: Grid) -> dict[Label, float]:
    """Volume of each tumour label; (I, J, K) labels on `grid`."""
    return {
        label: int(np.count_nonzero(labels == label)) * grid.voxel_volume_ml
        for label in TUMOUR_LABELS
    }


def midline_x_mm(brain: Mask, grid: Grid) -> float:
    """World x that halves the brain: the median of its voxels' x; (I, J, K) mask on `grid`.

    The midline is taken as a plane of constant x, so it is only as good as the head is straight.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    if not brain.any():
        raise ValueError("an empty brain mask has no midline")
    x_mm = grid.affine[0]
    # plane by plane: the indices of all voxels of a large brain at once would be half a gigabyte
    planes = [x_mm[1:3] @ np.nonzero(plane) + i * x_mm[0] for i, plane in enumerate(brain)]
    return float(np.median(np.concatenate(planes)) + x_mm[3])


def study_midline_mm(study: Study) -> float | None:
    """World x of a study's midline, see `midline_x_mm`; None if its FLAIR scan is empty."""
    flair = study.scans[Modality.FLAIR]
    head = flair.stored != 0
    return midline_x_mm(head, flair.grid) if head.any() else None


def millilitres(volume_ml: float) -> str:
    """Write a volume for a reader; nothing and next to nothing are told apart."""
    if not volume_ml:
        return "none found"
    return f"{volume_ml:.1f} mL" if volume_ml >= LEAST_SHOWN_ML else f"under {LEAST_SHOWN_ML} mL"


def lesion_map(mask: Mask) -> NDArray[np.int32]:
    """Give each 26-connected part of a mask its number, from 1, largest first; 0 elsewhere.

    Parts of equal size keep the order of their first voxels in the array.
    """
    numbered = np.zeros(mask.shape, np.int32)
    for box in ndimage.find_objects(mask.astype(np.uint8)):  # one: a tumour fills little of a head
        parts, count = ndimage.label(mask[box], _WITH_CORNERS)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        ranks = np.zeros(count + 1, np.int32)
        ranks[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
        numbered[box] = ranks[parts]
    return numbered


def lesions(
    labels: Labels, grid: Grid, region: Region = Region.WT, midline_mm: float | None = None
) -> tuple[Lesion, ...]:
    """Measure every 26-connected part of a region, largest first.

    Parameters
    ----------
    labels : (I, J, K) uint8 array
        Values of `utils.labels.Label`.
    grid : Grid
        Where the labels lie.
    region : Region
        What makes a lesion. WT lists what a reader sees as one; TC separates enhancing foci that
        share an oedema, as RANO counts them.
    midline_mm : float, optional
        World x of the midline, see `midline_x_mm`.
    """
    numbered = lesion_map(region.mask(labels))
    found = []
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        alone = np.where(numbered[box] == number, labels[box], np.uint8(Label.BACKGROUND))
        origin = np.array([side.start for side in box])
        found.append(_measure(number, _Part(alone, origin, grid), midline_mm))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Part:
    """One lesion cut out of its volume."""

    labels: Labels  # 0 outside the lesion
    origin: NDArray[np.int64]  # index in the volume of this cut's first voxel
    grid: Grid  # of the volume


def _measure(number: int, part: _Part, midline_mm: float | None) -> Lesion:
    voxels = np.argwhere(part.labels) + part.origin
    positions_mm = _world_mm(voxels, part.grid)
    centroid_mm = positions_mm.mean(axis=0)
    # voxels are boxes: half of one sticks out beyond the centres at either end
    extent_mm = np.ptp(positions_mm, axis=0) + np.abs(part.grid.affine[:3, :3]).sum(axis=1)
    return Lesion(
        number=number,
        voxels=len(voxels),
        volume_ml=len(voxels) * part.grid.voxel_volume_ml,
        centroid_mm=_point(centroid_mm),
        side=None if midline_mm is None else _side(centroid_mm[0] - midline_mm),
        extent_mm=_point(extent_mm),
        volumes_ml=region_volumes_ml(part.labels, part.grid),
        diameters=_diameters(part),
    )


def _side(right_of_midline_mm: float) -> Side:
    if abs(right_of_midline_mm) < MIDLINE_HALF_WIDTH_MM:
        return Side.MIDLINE
    return Side.RIGHT if right_of_midline_mm > 0 else Side.LEFT


def _diameters(part: _Part) -> Diameters | None:
    """Measure the enhancing part on the axial slice where its area is largest."""
    axial = Plane.AXIAL.array_axis(part.grid)
    in_plane = [axis for axis in range(3) if axis != axial]
    areas = Region.ET.mask(part.labels).sum(axis=tuple(in_plane))
    if not areas.any():
        return None
    index = int(areas.argmax())
    pixels = _largest_enhancing_part(np.moveaxis(part.labels, axial, 0)[index])
    # the triangular factor maps pixel steps to mm within the plane, oblique or sheared as it may be
    to_mm = np.linalg.qr(part.grid.affine[:3, in_plane]).R
    lengths, ends = _longest_and_perpendicular(_outline(pixels), to_mm)
    ends = np.insert(ends, axial, index, axis=-1) + part.origin
    (first, second), (third, fourth) = (tuple(_point(end) for end in line) for line in ends)
    return Diameters(
        longest_mm=lengths[0],
        perpendicular_mm=lengths[1],
        slice_index=int(part.origin[axial]) + index,
        longest_ends=(first, second),
        perpendicular_ends=(third, fourth),
    )


def _largest_enhancing_part(labels: Labels) -> Mask:
    """Enhancement of the slice's core with most of it: a broken ring around one necrosis is one."""
    parts, _ = ndimage.label(Region.TC.mask(labels), _PLANE_WITH_CORNERS)
    enhancing = Region.ET.mask(labels)
    largest: Mask = enhancing & (parts == np.bincount(parts[enhancing]).argmax())
    return largest


def _outline(pixels: Mask) -> NDArray[np.float64]:
    """(n, 2, 2) line segments around the pixels, half-way to their outer neighbours.

    Half-way, so that a row of n pixels measures n pixels: centres would lose one, corners would
    lengthen every slanting diameter.
    """
    padded = np.pad(pixels, 1).astype(np.float64)
    contours = contour_generator(z=padded, line_type=LineType.Separate).lines(_HALF_WAY)
    lines = cast(list[NDArray[np.float64]], contours)  # that line type's form
    segments = [np.stack([line[:-1], line[1:]], axis=1) for line in lines]
    rows_first: NDArray[np.float64] = np.concatenate(segments)[..., ::-1] - 1
    return rows_first


def _longest_and_perpendicular(
    outline: NDArray[np.float64], to_mm: NDArray[np.float64]
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """Lengths in mm, and a (line, end, 2) array of the ends in pixel indices."""
    segments_mm = outline @ to_mm.T
    corners_mm = segments_mm[:, 0]
    hull_mm = corners_mm[ConvexHull(corners_mm).vertices]
    distances_mm = squareform(pdist(hull_mm))
    first, second = np.unravel_index(distances_mm.argmax(), distances_mm.shape)
    longest_mm = hull_mm[[first, second]]
    along = (longest_mm[1] - longest_mm[0]) / distances_mm.max()
    across = np.array([-along[1], along[0]])
    perpendicular_mm = _widest_chord(segments_mm @ np.stack([along, across], axis=1))
    ends_mm = np.stack([longest_mm, perpendicular_mm @ np.stack([along, across])])
    lengths = float(distances_mm.max()), float(np.ptp(perpendicular_mm[:, 1]))
    return lengths, ends_mm @ np.linalg.inv(to_mm).T


def _widest_chord(segments: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 2) ends of the longest line of constant first coordinate between points of the outline.

    The width is linear between the outline's corners, so a widest chord passes through one of them.
    """
    s, t = segments[:, 0].T
    s_end, t_end = segments[:, 1].T
    run = s_end - s
    tops, bottoms = [], []
    for corners in np.array_split(s, 1 + s.size**2 // MOST_PAIRS):
        beyond_start = corners[:, None] - s  # (corner, segment)
        fraction = beyond_start / np.where(run == 0, 1, run)
        meets = np.where(run == 0, beyond_start == 0, (fraction >= 0) & (fraction <= 1))
        heights = np.where(meets, t + fraction * (t_end - t), np.nan)
        tops.append(np.nanmax(heights, axis=1))
        bottoms.append(np.nanmin(heights, axis=1))
    top, bottom = np.concatenate(tops), np.concatenate(bottoms)
    widest = int((top - bottom).argmax())
    return np.array([[s[widest], bottom[widest]], [s[widest], top[widest]]])


def _world_mm(voxels: NDArray[np.int64], grid: Grid) -> NDArray[np.float64]:
    positions: NDArray[np.float64] = voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return positions


def _point(values: NDArray[np.float64]) -> Point:
    x, y, z = values.tolist()
    return x, y, z
