"""Segment: four scans in, the tumour's parts and their volumes out."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.correct import corrections, follow, write_edited_mask
from pages.components.downloads import mask_button, more_downloads
from pages.components.engine import Job, engine
from pages.components.findings import (
    lesion_table,
    provenance,
    remarks,
    volume_table,
    volumes,
    where_to_look,
)
from pages.components.heading import erase_button
from pages.components.progress import show_progress
from pages.components.session import Visit, current_visit, prune_memo
from pages.components.upload import upload_form
from pages.components.viewer import LookAt, viewer
from utils.errors import UserError
from utils.nifti import write_labels
from utils.plane import Plane
from utils.render import key_slice
from utils.segmentation import Segmentation

_BAR_WIDTHS = (1.4, 1.2, 1.2, 1.2, 1.5, 0.9, 1, 0.9)
_LOW_METRICS = """<style>
[data-testid='stMetric'] [data-testid='stMetricLabel'] {line-height: 1.1; min-height: 0}
[data-testid='stMetric'] [data-testid='stMetricValue'] {line-height: 1.15; font-size: 1.35rem}
[data-testid='stMetric'] [data-testid='stMetricDelta'] {
  line-height: 1.1; font-size: 0.8rem; padding: 0; background: none}
</style>"""  # three lines in the height of the buttons beside them: the room is the viewer's


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
    """Volumes and buttons in one row, the viewer below, what was found below that."""
    st.html(_LOW_METRICS)
    title, *numbers, mask, more, correct, again = st.columns(
        _BAR_WIDTHS, vertical_alignment="center"
    )
    above = st.container()
    correcting = correct.toggle("Correct", key="correct", help="Change the mask by hand.")
    pictures, *panel = st.columns([3.8, 1] if correcting else [1])
    for column in panel:  # before all else: everything follows the edits
        with column:
            corrections(visit)
    current = follow(visit) or segmentation
    with pictures:
        shown = viewer(visit.intake.study, current, key="viewer", look_at=visit.look_at)
    corrected = " :orange-badge[corrected]" if visit.edited else ""
    title.markdown(f"#### {title_of(visit)}{corrected}")
    volumes(visit, current, numbers)
    with above:
        remarks(visit, current)
    findings(visit, segmentation, current)
    with again:
        erase_button()
    if edited_mask_written(visit, above):
        with mask:
            mask_button(visit, current)
        with more.popover("More", icon=":material/download:", width="stretch"):
            more_downloads(visit, current, shown)
    prune_memo()


def edited_mask_written(visit: Visit, above: DeltaGenerator) -> bool:
    """Prove the file of a corrected mask before it is offered, or say why it is not."""
    try:
        write_edited_mask(visit)
    except UserError as error:
        above.error(str(error))
        return False
    return True


def findings(visit: Visit, model: Segmentation, current: Segmentation) -> None:
    """What a reader would otherwise measure by hand, and where the model doubts."""
    lesion_table(visit, current)
    table, doubt = st.columns([2.2, 1], gap="large")
    with table:
        volume_table(visit, current)
    with doubt:
        where_to_look(model)
    provenance(visit, current)


def title_of(visit: Visit) -> str:
    """What the reader calls the study; never a file name."""
    return "Demo study (synthetic)" if visit.synthetic else "Your study"


visit = current_visit()
if visit is None:
    upload_form()
else:
    show_visit(visit)
