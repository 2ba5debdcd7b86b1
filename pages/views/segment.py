"""Segment: four scans in, the tumour's parts and their volumes out."""

import streamlit as st

from pages.components.downloads import mask_button, more_downloads
from pages.components.engine import Job, engine
from pages.components.findings import provenance, remarks, volumes
from pages.components.progress import show_progress
from pages.components.session import Visit, current_visit, erase
from pages.components.upload import upload_form
from pages.components.viewer import LookAt, viewer
from utils.errors import UserError
from utils.nifti import write_labels
from utils.plane import Plane
from utils.render import key_slice
from utils.segmentation import Segmentation


def show_visit(visit: Visit) -> None:
    """Whatever stage the study has reached."""
    job = visit.job
    if visit.segmentation is None and job is not None:
        if not job.done:
            st.subheader(title_of(visit))
            show_progress(job)
            return
        collect(visit, job)
    if visit.segmentation is not None:
        show_result(visit, visit.segmentation)


def collect(visit: Visit, job: Job) -> None:
    """Take over what the engine made of the study, or say why there is nothing."""
    try:
        segmentation = job.result()
        visit.mask = write_labels(segmentation.labels, segmentation.grid)  # verified, or no result
        visit.look_at = LookAt(centre(segmentation), Plane.AXIAL)
        visit.segmentation = segmentation
    except UserError as error:
        st.error(str(error))
        if st.button("Try again", key="retry"):
            visit.job = engine().submit(visit.intake.study, visit.intake.notices)
            st.rerun()
        erase_button()


def centre(segmentation: Segmentation) -> tuple[int, int, int]:
    """Where to begin to look: the slices with most tumour."""
    i, j, k = (
        key_slice(segmentation.labels, segmentation.grid, plane)
        for plane in sorted(Plane, key=lambda plane: plane.array_axis(segmentation.grid))
    )
    return i, j, k


def show_result(visit: Visit, segmentation: Segmentation) -> None:
    """Volumes and downloads in one row, the viewer below."""
    bar, above = st.container(), st.container()
    shown = viewer(visit.intake.study, segmentation, key="viewer", look_at=visit.look_at)
    with bar:
        title, wt, tc, et, mask, more, again = st.columns(
            [2, 1.2, 1.2, 1.2, 1, 1, 1], vertical_alignment="center"
        )
        title.markdown(f"#### {title_of(visit)}")
        volumes(segmentation, [wt, tc, et])
        with mask:
            mask_button(visit, segmentation)
        with more.popover("More", icon=":material/download:", width="stretch"):
            more_downloads(visit, segmentation, shown)
        with again:
            erase_button()
    with above:
        remarks(visit, segmentation)
    provenance(visit, segmentation)


def erase_button() -> None:
    """Forget everything and start anew."""
    st.button(
        "Erase",
        key="erase",
        icon=":material/delete:",
        on_click=erase,
        help="Forgets the scans and the result at once, and offers an empty form.",
        width="stretch",
    )


def title_of(visit: Visit) -> str:
    """What the reader calls the study; never a file name."""
    return "Demo study (synthetic)" if visit.synthetic else "Your study"


visit = current_visit()
if visit is None:
    upload_form()
else:
    show_visit(visit)
