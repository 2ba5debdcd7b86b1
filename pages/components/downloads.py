"""What a reader takes home; made when asked for, but for the mask, which is proven before."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from model.reliability import shipped_reliability
from pages.components.session import Visit, memo, recall, widget_value
from pages.components.viewer import ViewerState
from utils.correct import NO_EDITS
from utils.doubt import volume_spreads
from utils.export import bundle_zip, mask_stem, picture_png, volumes_csv
from utils.measure import region_volumes_ml
from utils.render import View
from utils.report import LONGEST_TYPED_TEXT, ReportNotes, report_pdf
from utils.segmentation import Segmentation
from utils.sidecar import Result, sidecar_json

SETTLING_S = 0.5


def mask_button(visit: Visit, segmentation: Segmentation) -> None:
    """Offer the mask, which nibabel and ITK have read back, and beside it how it came to be."""
    result = _result(visit, segmentation)
    with st.container(horizontal=True, gap="xxsmall"):
        st.download_button(
            "Mask",
            result.mask,
            _file_name(visit, mask_stem(result), "nii.gz"),
            "application/gzip",
            key="download_mask",
            type="primary",
            icon=":material/verified:",
            help="NIfTI on the uploaded scan's own voxels. Verified: reopened with nibabel and "
            "ITK; shape, position and labels are right.",
            on_click="ignore",
            width="stretch",
        )
        st.download_button(
            "JSON",
            lambda: sidecar_json(result),
            _file_name(visit, mask_stem(result), "json"),
            "application/json",
            key="download_sidecar",
            help="Sidecar of the mask, to keep beside it: model, input hashes, steps, notices, "
            "label map, volumes, time of the run.",
            on_click="ignore",
        )


def more_downloads(visit: Visit, segmentation: Segmentation, shown: ViewerState) -> None:
    """Offer the volumes, the slice in the viewer, a report, and all of it in one archive."""
    result = _result(visit, segmentation)
    view = View(shown.plane, shown.voxel[shown.plane.array_axis(segmentation.grid)])
    reference = _typed_reference(visit)

    def button(title: str, name: str, mime: str, make: Callable[[], bytes]) -> None:
        stem, extension = name.split(".")
        st.download_button(
            title,
            make,
            _file_name(visit, stem, extension),
            mime,
            key=f"download_{stem}",
            on_click="ignore",
            width="stretch",
        )

    button(
        "One-page report (PDF)",
        "report.pdf",
        "application/pdf",
        lambda: report_pdf(result, _notes(result, reference.settled())),
    )
    button(
        "The slice shown (PNG)",
        "slice.png",
        "image/png",
        lambda: picture_png(result, shown.modality, view),
    )
    button("Volumes (CSV)", "volumes.csv", "text/csv", lambda: volumes_csv(result))
    button(
        "Everything (ZIP)",
        "study.zip",
        "application/zip",
        lambda: bundle_zip(result, _notes(result, reference.settled())),
    )


@dataclass
class _Reference:
    """What the reader has typed to identify the patient."""

    text: str = ""

    def settled(self) -> str:
        """The text as it stands now; to be asked when the report is made.

        The click on the button is also what ends the typing, and both are on their way at once.
        """
        time.sleep(SETTLING_S)
        return self.text


def _typed_reference(visit: Visit) -> _Reference:
    """Ask for a reference that is printed on the PDF alone."""
    key = f"reference_{visit.token}"
    reference = memo((key,), _Reference)
    reference.text = st.text_input(
        "Patient reference (optional)",
        max_chars=LONGEST_TYPED_TEXT,
        key=key,
        help="Printed on the PDF and kept nowhere else.",
        autocomplete="off",
        on_change=_follow_typing,
        args=(key,),
    )
    return reference


def _follow_typing(key: str) -> None:
    reference: _Reference | None = recall((key,))
    if reference is not None:
        reference.text = widget_value(key) or ""


def _result(visit: Visit, segmentation: Segmentation) -> Result:
    study, hashes = visit.intake.study, visit.intake.sha256
    if visit.edits == NO_EDITS or visit.segmentation is None:
        return Result(study, segmentation, hashes, visit.mask or b"")
    own = Result(study, visit.segmentation, hashes, visit.mask or b"")
    return Result(study, segmentation, hashes, visit.edited_mask or b"", own)


def _notes(result: Result, typed_text: str) -> ReportNotes:
    """What the report says besides; of a corrected mask the model's errors say nothing."""
    known = shipped_reliability()
    if result.own is not None:
        return ReportNotes(typed_text)
    found = region_volumes_ml(result.segmentation.labels, result.segmentation.grid)
    intervals_ml = known.volume_intervals_ml(found, volume_spreads(result.segmentation))
    return ReportNotes(typed_text, intervals_ml, known.coverage)


def _file_name(visit: Visit, stem: str, extension: str) -> str:
    """Name with the visit's token: never the client's, and never the same for two visits.

    Streamlit gives two large files of equal length and name one address, whoever they belong to.
    """
    return f"{stem}-{visit.token}.{extension}"
