"""What a reader takes home; made when asked for, but for the mask, which is proven before."""

import streamlit as st

from pages.components.session import Visit
from pages.components.viewer import ViewerState
from utils.export import bundle_zip, volumes_csv
from utils.nifti import write_labels
from utils.render import View, slice_png
from utils.segmentation import Segmentation


def downloads(visit: Visit, segmentation: Segmentation, shown: ViewerState) -> None:
    """Buttons for the mask, the volumes, the slice in the viewer, and all of it in one archive.

    Every name holds the visit's token: Streamlit gives two large files of equal length and name one
    address, whoever they belong to.
    """
    if visit.mask is None:
        visit.mask = write_labels(segmentation.labels, segmentation.grid)
    mask, study, token = visit.mask, visit.intake.study, visit.token
    scan = study.scans[shown.modality]
    view = View(shown.plane, shown.voxel[shown.plane.array_axis(study.grid)])
    st.download_button(
        "Mask (.nii.gz)",
        mask,
        f"segmentation-{token}.nii.gz",
        "application/gzip",
        key="download_mask",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
        width="stretch",
    )
    st.caption(
        ":material/verified: Verified: reopened with nibabel and ITK; shape, position and labels "
        "are those of the uploaded scan."
    )
    st.download_button(
        "Volumes (.csv)",
        lambda: volumes_csv(segmentation),
        f"volumes-{token}.csv",
        "text/csv",
        key="download_volumes",
        on_click="ignore",
        width="stretch",
    )
    st.download_button(
        "This slice (.png)",
        lambda: slice_png(scan, segmentation.labels, view),
        f"slice-{token}.png",
        "image/png",
        key="download_slice",
        on_click="ignore",
        width="stretch",
    )
    st.download_button(
        "Everything (.zip)",
        lambda: bundle_zip(segmentation, study, visit.intake.sha256, mask),
        f"study-{token}.zip",
        "application/zip",
        key="download_everything",
        help="Mask, volumes, three key pictures, and a record of how they came to be.",
        on_click="ignore",
        width="stretch",
    )
