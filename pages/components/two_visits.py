"""An earlier and the current visit on one grid: everything computed once, and the pictures."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.components.mask_slices import plane_choice, slice_slider
from pages.components.viewer import Comparison
from utils.align import Alignment, Passage, align
from utils.burden import Burden
from utils.change import (
    LesionChange,
    LesionNumbers,
    lesion_numbers,
    matched_lesions,
    middle_of_lesion,
)
from utils.errors import GridMismatchError
from utils.labels import Region
from utils.overlay import blank, checkerboard, windowed
from utils.plane import Plane
from utils.render import Style, View, key_slice, lettered_rgb
from utils.volume import Volume

EARLIER = "Earlier mask"
PANE = Style(longest_side_px=520, opacity=0.35)
SIDE_BY_SIDE, CHECKERBOARD = "Side by side", "Checkerboard"


@dataclass(frozen=True, eq=False)
class VisitMask:
    """A visit as this page knows it.

    Attributes
    ----------
    burden : Burden
        Its mask, measured.
    scan : Volume or None
        Its T1ce scan on the mask's grid.
    day : date or None
        When, if the reader has said so.
    """

    burden: Burden
    scan: Volume | None = None
    day: date | None = None


@dataclass(frozen=True, eq=False)
class TwoVisits:
    """Two visits, the earlier one brought onto the current grid.

    Attributes
    ----------
    earlier, current : VisitMask
        As uploaded.
    passage : Passage
        From the one to the other.
    """

    earlier: VisitMask
    current: VisitMask
    passage: Passage

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """The earlier mask on the current grid."""
        return self.passage.bring(self.earlier.burden.labels)

    @cached_property
    def comparison(self) -> Comparison:
        """The earlier mask as the viewer wants it."""
        return Comparison(EARLIER, self.labels, self.passage.target)

    @cached_property
    def scans(self) -> tuple[Volume, Volume] | None:
        """The earlier and the current T1ce on the current grid, windowed; None if one lacks."""
        if self.earlier.scan is None or self.current.scan is None:
            return None
        moved = Volume(self.passage.bring(self.earlier.scan.values), self.passage.target)
        return windowed(moved), windowed(self.current.scan)

    @cached_property
    def _numbers(self) -> dict[Region, tuple[LesionNumbers, LesionNumbers, tuple[float, ...]]]:
        return {}

    def lesions(self, region: Region) -> tuple[LesionChange, ...]:
        """What became of every lesion of a region."""
        earlier, current, earlier_ml = self._numbered(region)
        return matched_lesions(earlier, current, earlier_ml, self.passage.target.voxel_volume_ml)

    def middle(self, region: Region, change: LesionChange) -> tuple[int, int, int] | None:
        """A voxel of the current grid amid a lesion; None if it lies outside what is scanned."""
        earlier, current, _ = self._numbered(region)
        if change.current:
            return middle_of_lesion(current, change.current[0])
        if (earlier == change.earlier[0]).any():
            return middle_of_lesion(earlier, change.earlier[0])
        return None

    def _numbered(self, region: Region) -> tuple[LesionNumbers, LesionNumbers, tuple[float, ...]]:
        if region not in self._numbers:
            old, now = self.earlier.burden, self.current.burden
            numbers, sizes = lesion_numbers(old.labels, region)
            volumes_ml = tuple(n * old.grid.voxel_volume_ml for n in sizes)
            current, _ = lesion_numbers(now.labels, region)
            self._numbers[region] = self.passage.bring(numbers), current, volumes_ml
        return self._numbers[region]


def passage_between(earlier: VisitMask, current: VisitMask, *, again: bool = False) -> Passage:
    """Find the way from one visit's voxels to the other's.

    Parameters
    ----------
    again : bool
        Align the scans although the voxels are the same.

    Raises
    ------
    GridMismatchError
        If the grids differ and there are no two scans to align, or they could not be.
    """
    source, target = earlier.burden.grid, current.burden.grid
    direct = Passage.direct(source, target)
    if direct is not None and not again:
        return direct
    if earlier.scan is None or current.scan is None:
        missing = "earlier" if earlier.scan is None else "current"
        raise GridMismatchError(
            f"The two masks lie on different voxels. Add the {missing} T1ce scan, so that the "
            "visits can be aligned; volumes and diameters above do not depend on it."
        )
    return Passage(source, target, align(earlier.scan, current.scan))


@st.fragment
def both_visits(visits: TwoVisits, key: str) -> None:
    """The two scans, one slice number for both, so that the alignment can be judged."""
    current = visits.current.burden
    controls, picture = st.columns([1, 3], gap="large")
    with controls:
        how = SIDE_BY_SIDE
        if visits.scans is not None:
            how = str(
                st.segmented_control(
                    "Show",
                    [SIDE_BY_SIDE, CHECKERBOARD],
                    default=SIDE_BY_SIDE,
                    required=True,
                    key=f"how_{key}",
                )
            )
        plane = plane_choice(key)
        start = key_slice(np.maximum(current.labels, visits.labels), current.grid, plane)
        index = slice_slider(plane, plane.slice_count(current.grid), start, key)
        if visits.passage.alignment is not None:
            residuals(visits.passage.alignment)
        if how == CHECKERBOARD:
            st.caption("Folds and ventricles must run on from square to square without a step.")
    with picture:
        if how == CHECKERBOARD and visits.scans is not None:
            view = View(plane, index, (0.0, 1.0))
            st.image(lettered_rgb(checkerboard(*visits.scans), None, view, PANE))
        else:
            _panes(visits, plane, index)


def residuals(alignment: Alignment) -> None:
    """How the head had moved, and how well the scans fit now."""
    st.markdown(
        f"Head moved by **{alignment.shift_mm:.1f} mm** and turned by "
        f"**{alignment.rotation_deg:.1f}°**.\n\n"
        f"Overlap of the heads: {alignment.overlap_before:.1%} → **{alignment.overlap:.1%}**\n\n"
        "Correlation of the scans: "
        f"{alignment.correlation_before:.2f} → **{alignment.correlation:.2f}**"
    )


def _panes(visits: TwoVisits, plane: Plane, index: int) -> None:
    """Earlier on the left, current on the right, the same place in both."""
    grid = visits.passage.target
    nothing = blank(grid)
    earlier, current = visits.scans or (nothing, visits.current.scan or nothing)
    view = View(plane, index, (0.0, 1.0) if visits.scans else None)
    pairs = ((earlier, visits.labels, "Earlier"), (current, visits.current.burden.labels, "Now"))
    for column, (scan, labels, title) in zip(st.columns(2), pairs, strict=True):
        column.image(lettered_rgb(scan, labels, view, PANE), caption=title)
