"""Follow-up: what changed since an earlier visit; numbers, never a verdict."""

import streamlit as st

from pages.components.alignment import CHECKERBOARD, both_visits
from pages.components.correct import follow
from pages.components.follow_up import (
    comparison,
    current_study,
    earlier_visits,
    look_at,
    name_of,
    show_course,
    show_lesions,
    show_rano,
    show_volumes,
    two_visits,
    uploaded_visit,
)
from pages.components.heading import heading
from pages.components.mask_slices import TwoMasks, mask_slices
from pages.components.session import current_visit
from pages.components.viewer import viewer
from utils.errors import UserError
from utils.overlay import blank
from utils.two_visits import TwoVisits, VisitMask

STUDY, MASK = "The study on the Segment page", "An uploaded mask"


def current() -> VisitMask | None:
    """The visit that is judged, whichever way it comes."""
    visit = current_visit()
    segmentation = follow(visit) if visit else None
    if visit is None or segmentation is None:
        st.caption("A study segmented on the *Segment* page is taken from there.")
        return uploaded_visit("Current", "current")
    choice = st.segmented_control("It is", [STUDY, MASK], default=STUDY, required=True, key="which")
    if choice == STUDY:
        return current_study(visit, segmentation)
    return uploaded_visit("Current", "current")


def show_change(earlier: list[VisitMask], now: VisitMask) -> None:
    """Numbers first: they need no alignment; then what lies where."""
    if now.day and any(visit.day and visit.day > now.day for visit in earlier):
        st.warning("An earlier visit has a later date than the current one. Check the dates.")
    names = [name_of(visit, n, len(earlier)) for n, visit in enumerate(earlier)]
    chosen = len(earlier) - 1
    if len(earlier) > 1:
        chosen = st.selectbox("Compare with", range(len(names)), chosen, names.__getitem__)
    show_volumes(earlier[chosen], now, names[chosen])
    show_rano(earlier, now, names)
    if len(earlier) > 1:
        show_course([*earlier, now], [*names, now.day.isoformat() if now.day else "Now"])
    visits = two_visits(earlier[chosen], now)
    show_lesions(visits)
    show_pictures(visits)


def show_pictures(visits: TwoVisits) -> None:
    """Both visits side by side: in the viewer if the study is there, else on plain slices."""
    visit = current_visit()
    shown = follow(visit) if visit else None
    now = visits.current.burden
    st.markdown("#### Both visits, linked")
    if visit is not None and shown is not None and shown.labels is now.labels:
        viewer(
            visit.intake.study,
            shown,
            key="followup",
            look_at=look_at() or visit.look_at,
            comparison=comparison(visits),
        )
        if visits.earlier_scan is not None:
            st.markdown("#### Do the two scans lie on one another?")
            both_visits(visits, "both", CHECKERBOARD)
        return
    both_visits(visits, "both")
    st.markdown("#### Where the masks differ")
    background = visits.current.scan or blank(now.grid)
    mask_slices(TwoMasks(background, now.labels, visits.labels, ("now", "earlier")), "followup")


heading("Follow-up: what changed since an earlier visit")
right, left = st.columns(2, gap="large")
try:
    with left:
        st.markdown("**Current visit**")
        judged = current()
    with right:
        before = earlier_visits()
    if judged is not None and before:
        show_change(before, judged)
    else:
        st.info(
            "Give the earlier mask (and, if the scans lie differently, the earlier T1ce scan, "
            "skull-stripped, so that they can be aligned)."
        )
except UserError as error:
    st.error(str(error))
