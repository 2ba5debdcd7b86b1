"""Compare: a mask against a reference; figures, and what was missed or invented, in colour."""

import secrets

import streamlit as st

from pages.components.comparing import judged, show_scores
from pages.components.correct import follow
from pages.components.heading import heading
from pages.components.mask_slices import TwoMasks, mask_slices
from pages.components.mask_upload import mask_upload
from pages.components.session import Visit, current_visit, keep
from pages.components.viewer import viewer
from utils.errors import UserError
from utils.overlay import blank
from utils.segmentation import Segmentation

STUDY, MASKS = "The study on the Segment page", "Two masks"


def compare_study(visit: Visit, segmentation: Segmentation) -> None:
    """The segmentation on screen against an uploaded reference."""
    field, _ = st.columns(2)
    with field:
        reference = mask_upload("Reference mask", "reference")
    if reference is None:
        return
    found = judged(segmentation.labels, segmentation.grid, reference)
    show_scores(found, f"comparison-{visit.token}.csv")
    st.caption(
        "The viewer opens with the differences in colour. Its panel, under *Reference*, names the "
        "colours; the legend above it chooses the part of the tumour."
    )
    viewer(
        visit.intake.study,
        segmentation,
        key="compare",
        look_at=visit.look_at,
        comparison=found.comparison,
    )


def compare_masks() -> None:
    """Two uploaded masks, without any scan."""
    left, right = st.columns(2, gap="large")
    with left:
        mask = mask_upload("Mask to be judged", "judged")
    with right:
        reference = mask_upload("Reference mask", "reference")
    if mask is None or reference is None:
        return
    found = judged(mask.labels, mask.grid, reference)
    show_scores(found, f"comparison-{keep('compare-token', secrets.token_hex)}.csv")
    titles = ("mask (false positive)", "reference (missed)")
    mask_slices(TwoMasks(blank(found.grid), found.labels, found.reference, titles), "compare")


heading("Compare with a reference mask")
visit = current_visit()
segmentation = follow(visit) if visit else None
choice = MASKS
if segmentation is not None:
    choice = str(
        st.segmented_control("Compare", [STUDY, MASKS], default=STUDY, required=True, key="what")
    )
else:
    st.caption("A study segmented on the *Segment* page can be compared here as well.")
try:
    if choice == STUDY and visit is not None and segmentation is not None:
        compare_study(visit, segmentation)
    else:
        compare_masks()
except UserError as error:
    st.error(str(error))
