"""What was found in the study on screen: volumes, and what to know before trusting them."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.session import Visit
from utils.labels import TUMOUR_LABELS, Region
from utils.measure import region_volumes_ml
from utils.segmentation import Segmentation


def volumes(segmentation: Segmentation, columns: list[DeltaGenerator]) -> None:
    """Show one number a region, each in a column of its own."""
    found = region_volumes_ml(segmentation.labels, segmentation.grid)
    for column, (region, volume_ml) in zip(columns, found.items(), strict=True):
        column.metric(
            region.title,
            "none found"
            if not volume_ml
            else f"{volume_ml:.1f} mL"
            if volume_ml >= 0.1
            else "< 0.1 mL",
            help=" + ".join(label.title for label in TUMOUR_LABELS if label in region.value),
        )


def remarks(visit: Visit, segmentation: Segmentation) -> None:
    """Show what must be known before the result is trusted."""
    if not Region.WT.mask(segmentation.labels).any():
        st.info("No tumour was found. That is no proof that there is none: look at the scans.")
    for notice in visit.intake.notices:
        if notice.consent:
            st.warning(notice.text, icon=":material/warning:")


def provenance(visit: Visit, segmentation: Segmentation) -> None:
    """Tell how the result came to be, folded away."""
    made_by = segmentation.provenance
    with st.expander("How this came to be"):
        told = (*made_by.steps, *(n.text for n in visit.intake.notices if not n.consent))
        st.markdown("\n".join(f"- {line}" for line in told))
        st.caption(
            f"Model {made_by.model_id}, weights {made_by.weights_sha256[:12]}, "
            f"{made_by.runtime}, {made_by.seconds:.1f} s."
        )
