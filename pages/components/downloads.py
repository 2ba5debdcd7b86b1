"""What a reader takes home; made when asked for, but for the mask, which is proven before."""

from collections.abc import Callable

import streamlit as st

from pages.components.session import Visit
from pages.components.viewer import ViewerState
from utils.export import bundle_zip, volumes_csv
from utils.render import View, slice_png
from utils.report import ReportNotes, report_pdf
from utils.segmentation import Segmentation


def mask_button(visit: Visit) -> None:
    """Offer the mask, which nibabel and ITK have read back."""
    st.download_button(
        "Mask",
        visit.mask or b"",
        _file_name(visit, "segmentation", "nii.gz"),
        "application/gzip",
        key="download_mask",
        type="primary",
        icon=":material/verified:",
        help="NIfTI on the uploaded scan's own voxels. Verified: reopened with nibabel and ITK; "
        "shape, position and labels are right.",
        on_click="ignore",
        width="stretch",
    )


def more_downloads(visit: Visit, segmentation: Segmentation, shown: ViewerState) -> None:
    """Offer the volumes, the slice in the viewer, a report, and all of it in one archive."""
    study, mask = visit.intake.study, visit.mask or b""
    scan = study.scans[shown.modality]
    view = View(shown.plane, shown.voxel[shown.plane.array_axis(study.grid)])

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

    button("Volumes (CSV)", "volumes.csv", "text/csv", lambda: volumes_csv(segmentation))
    button(
        "The slice shown (PNG)",
        "slice.png",
        "image/png",
        lambda: slice_png(scan, segmentation.labels, view),
    )
    button(
        "One-page report (PDF)",
        "report.pdf",
        "application/pdf",
        lambda: report_pdf(segmentation, study, ReportNotes()),
    )
    button(
        "Everything (ZIP)",
        "study.zip",
        "application/zip",
        lambda: bundle_zip(segmentation, study, visit.intake.sha256, mask),
    )


def _file_name(visit: Visit, stem: str, extension: str) -> str:
    """Name with the visit's token: never the client's, and never the same for two visits.

    Streamlit gives two large files of equal length and name one address, whoever they belong to.
    """
    return f"{stem}-{visit.token}.{extension}"
