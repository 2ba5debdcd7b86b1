"""Two visits on plain slices, so that a reader can judge whether they lie on one another."""

import numpy as np
import streamlit as st

from pages.components.mask_slices import plane_choice, slice_slider
from utils.align import Alignment
from utils.overlay import blank, checkerboard
from utils.plane import Plane
from utils.render import Style, View, key_slice, lettered_rgb
from utils.two_visits import TwoVisits

PANE = Style(longest_side_px=520, opacity=0.35)
SIDE_BY_SIDE, CHECKERBOARD = "Side by side", "Checkerboard"


@st.fragment
def both_visits(visits: TwoVisits, key: str, first: str = SIDE_BY_SIDE) -> None:
    """The two scans, one slice number for both, so that the alignment can be judged."""
    current = visits.current.burden
    controls, picture = st.columns([1, 3], gap="large")
    with controls:
        how = SIDE_BY_SIDE
        if visits.windowed_scans is not None:
            how = str(
                st.segmented_control(
                    "Show",
                    [SIDE_BY_SIDE, CHECKERBOARD],
                    default=first,
                    required=True,
                    key=f"how_{key}",
                )
            )
        plane = plane_choice(key)
        start = key_slice(np.maximum(current.labels, visits.labels), current.grid, plane)
        index = slice_slider(plane, current.grid, start, key)
        if visits.passage.alignment is not None:
            residuals(visits.passage.alignment)
        if how == CHECKERBOARD:
            st.caption("Folds and ventricles must run on from square to square without a step.")
    with picture:
        if how == CHECKERBOARD and visits.windowed_scans is not None:
            view = View(plane, index, (0.0, 1.0))
            st.image(lettered_rgb(checkerboard(*visits.windowed_scans), None, view, PANE))
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
    earlier, current = visits.windowed_scans or (nothing, visits.current.scan or nothing)
    view = View(plane, index, (0.0, 1.0) if visits.windowed_scans else None)
    pairs = ((earlier, visits.labels, "Earlier"), (current, visits.current.burden.labels, "Now"))
    for column, (scan, labels, title) in zip(st.columns(2), pairs, strict=True):
        column.image(lettered_rgb(scan, labels, view, PANE), caption=title)
