"""A mask against its reference: both on one grid, every figure computed once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from pages.components.mask_upload import UploadedMask
from pages.components.session import memo
from pages.components.table import table
from pages.components.viewer import Comparison
from utils.align import rearranged, refuse_grid
from utils.grid import Grid
from utils.labels import Region
from utils.metrics import SURFACE_TOLERANCE_MM, RegionScores, score
from utils.score_table import COLUMNS, empty_region_remarks, score_rows, scores_csv
from utils.study import GRID_TOLERANCE_MM

REFERENCE = "Reference"

Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Judged:
    """A mask and its reference on the mask's grid.

    Attributes
    ----------
    labels, reference : (I, J, K) uint8 arrays
        Values of `utils.labels.Label`.
    grid : Grid
        Where both lie.
    uploaded : UploadedMask
        The reference as it came.
    """

    labels: Labels
    reference: Labels
    grid: Grid
    uploaded: UploadedMask

    @cached_property
    def scores(self) -> dict[Region, RegionScores]:
        """Every figure, by the code of the model's own evaluation."""
        return score(self.labels, self.reference, self.grid)

    @cached_property
    def comparison(self) -> Comparison:
        """The reference as the viewer wants it."""
        names = ("False positive", "Missed", "In both")
        return Comparison(REFERENCE, self.reference, self.grid, names, opens="differences")

    @property
    def reordered(self) -> bool:
        """Whether the reference's axes were swapped or flipped to fit."""
        return self.uploaded.grid.displacement_mm(self.grid) > GRID_TOLERANCE_MM


@dataclass
class _Kept:
    judged: Judged | None = None


def judged(labels: Labels, grid: Grid, reference: UploadedMask) -> Judged:
    """Bring the reference onto the mask's grid; the same object for the same two masks.

    Raises
    ------
    UserError
        If the reference lies elsewhere: scores of masks that do not fit would be meaningless.
    """
    kept = memo("judged", _Kept)
    known = kept.judged
    if known is None or known.labels is not labels or known.uploaded is not reference:
        kept.judged = None
        moved = rearranged(reference.labels, reference.grid, grid)
        if moved is None:
            raise refuse_grid("The reference mask", reference.grid, grid)
        kept.judged = known = Judged(labels, moved, grid, reference)
    return known


def show_scores(found: Judged, file_name: str) -> None:
    """The table, what is convention in it, and the table as a file."""
    if found.reordered:
        st.info(
            "The reference has its axes in another order "
            f"({found.uploaded.grid.orientation} against {found.grid.orientation}); it was put in "
            "order by its own coordinates, no voxel was changed."
        )
    with st.spinner("Measuring surfaces …"):
        scores = found.scores
    table(COLUMNS, score_rows(scores))
    for remark in empty_region_remarks(scores):
        st.caption(f":material/info: {remark}")
    st.caption(
        "HD95: 95th percentile of the distances between both surfaces. Surface Dice: share of both "
        f"surfaces that lie within {SURFACE_TOLERANCE_MM:g} mm of each other. Sensitivity: share "
        "of the reference that was found; precision: share of the mask that is right. Difference: "
        "mask minus reference."
    )
    st.download_button(
        "Table (CSV)",
        scores_csv(scores),
        file_name,
        "text/csv",
        key="download_scores",
        icon=":material/download:",
        on_click="ignore",
    )
