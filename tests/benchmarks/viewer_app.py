"""The viewer beside the usual way, an st.slider and st.image, on the demo study."""

import numpy as np
import streamlit as st

from pages.components.viewer import viewer, viewer_routes
from utils.labels import regions_of
from utils.phantom import demo_study
from utils.segmentation import CERTAIN, Provenance, Segmentation
from utils.study import Modality, Study

app = st.App(__file__, routes=viewer_routes())


@st.cache_resource
def demo() -> tuple[Study, Segmentation]:
    study, labels = demo_study()
    probabilities = (regions_of(labels) * CERTAIN).astype(np.uint8)
    provenance = Provenance("benchmark", "0" * 64, "none", 0.0)
    return study, Segmentation(labels, probabilities, study.grid, provenance)


def viewer_page() -> None:
    study, segmentation = demo()
    if st.button("Finish the run"):  # what happens when the network is done
        st.session_state["done"] = True
    if st.session_state.get("done"):
        viewer(study, segmentation, key="viewer")


def slider_page() -> None:
    study, _ = demo()
    values = study.scans[Modality.FLAIR].values
    index = st.slider("Slice", 0, values.shape[2] - 1, 40)
    st.image(np.clip(values[:, :, index].T / values.max(), 0, 1), width=480)
    st.text(f"slice {index}")


if __name__ == "__main__":
    st.set_page_config(layout="wide")
    st.navigation(
        [
            st.Page(viewer_page, title="Viewer", url_path="viewer", default=True),
            st.Page(slider_page, title="Slider", url_path="slider"),
        ]
    ).run()
