"""Segment: four scans in, the tumour's parts and their volumes out."""

import streamlit as st

from pages.components.downloads import downloads
from pages.components.engine import Job, engine
from pages.components.findings import findings
from pages.components.progress import show_progress
from pages.components.session import Visit, current_visit, erase
from pages.components.upload import upload_form
from pages.components.viewer import LookAt, viewer
from utils.errors import UserError
from utils.plane import Plane
from utils.render import key_slice
from utils.segmentation import Segmentation


def show_visit(visit: Visit) -> None:
    """Header, then whatever stage the study has reached."""
    title, again = st.columns([4, 1], vertical_alignment="center")
    title.subheader("Synthetic demo study" if visit.synthetic else "Your study")
    again.button(
        "Erase and start anew",
        key="erase",
        icon=":material/delete:",
        on_click=erase,
        width="stretch",
    )
    job = visit.job
    if visit.segmentation is None and job is not None:
        if not job.done:
            show_progress(job)
            return
        collect(visit, job)
    if visit.segmentation is not None:
        show_result(visit, visit.segmentation)


def collect(visit: Visit, job: Job) -> None:
    """Take over what the engine made of the study, or say why there is nothing."""
    try:
        visit.segmentation = job.result()
        visit.look_at = LookAt(centre(visit.segmentation), Plane.AXIAL)
    except UserError as error:
        st.error(str(error))
        if st.button("Try again", key="retry"):
            visit.job = engine().submit(visit.intake.study, visit.intake.notices)
            st.rerun()


def centre(segmentation: Segmentation) -> tuple[int, int, int]:
    """Where to begin to look: the slices with most tumour."""
    i, j, k = (
        key_slice(segmentation.labels, segmentation.grid, plane)
        for plane in sorted(Plane, key=lambda plane: plane.array_axis(segmentation.grid))
    )
    return i, j, k


def show_result(visit: Visit, segmentation: Segmentation) -> None:
    """The viewer on the left; volumes, remarks and downloads on the right."""
    picture, numbers = st.columns([3, 1], gap="medium")
    with picture:
        shown = viewer(visit.intake.study, segmentation, key="viewer", look_at=visit.look_at)
    with numbers:
        findings(visit, segmentation)
        downloads(visit, segmentation, shown)


visit = current_visit()
if visit is None:
    upload_form()
else:
    show_visit(visit)
