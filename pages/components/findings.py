"""What was found in the study on screen: volumes, and what to know before trusting them."""

import streamlit as st

from pages.components.session import Visit
from utils.labels import TUMOUR_LABELS, Region
from utils.measure import label_volumes_ml, region_volumes_ml
from utils.segmentation import Segmentation


def findings(visit: Visit, segmentation: Segmentation) -> None:
    """Volumes of the three regions, the parts they are made of, and the notices."""
    regions = region_volumes_ml(segmentation.labels, segmentation.grid)
    for column, (region, volume_ml) in zip(st.columns(3), regions.items(), strict=True):
        column.metric(
            region.title,
            f"{volume_ml:.1f} mL" if volume_ml else "none found",
            help=" + ".join(label.title for label in TUMOUR_LABELS if label in region.value),
        )
    parts = label_volumes_ml(segmentation.labels, segmentation.grid)
    st.caption(" · ".join(f"{label.title} {parts[label]:.1f} mL" for label in TUMOUR_LABELS))
    if not regions[Region.WT]:
        st.info("No tumour was found. That is no proof that there is none: look at the scans.")
    for notice in visit.intake.notices:
        if notice.consent:
            st.warning(notice.text, icon=":material/warning:")
    provenance = segmentation.provenance
    with st.expander("How this came to be"):
        told = (*provenance.steps, *(n.text for n in visit.intake.notices if not n.consent))
        st.markdown("\n".join(f"- {line}" for line in told))
        st.caption(
            f"Model {provenance.model_id}, weights {provenance.weights_sha256[:12]}, "
            f"{provenance.runtime}, {provenance.seconds:.1f} s."
        )
