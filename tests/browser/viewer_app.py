"""A small app around the viewer, for the browser tests.

Query: grid=NAME, grace=SECONDS, earlier=mask, earlier=visit.
"""

import streamlit as st

from pages.components.guard import protection
from pages.components.viewer import LookAt, forget, viewer, viewer_routes
from pages.components.viewer.store import STORE
from tests.browser.viewer_phantom import (
    make_comparison,
    make_earlier_visit,
    make_segmentation,
    make_study,
)

app = st.App(__file__, routes=viewer_routes(), middleware=protection())


def image_page() -> None:
    if "study" not in st.session_state:
        st.session_state["study"] = make_study(st.query_params.get("grid", "canonical"))
        st.session_state["segmentation"] = make_segmentation(st.session_state["study"])
        if "earlier" in st.query_params:
            visit = st.query_params["earlier"] == "visit"
            make = make_earlier_visit if visit else make_comparison
            st.session_state["comparison"] = make(st.session_state["study"])
    for name, voxel in {"corner": (1, 2, 3), "core": (13, 14, 10)}.items():
        if st.button(f"Look at the {name}"):
            st.session_state["look_at"] = LookAt(voxel)
    st.button("Run again")
    look_at = st.session_state.get("look_at")
    study, segmentation = st.session_state["study"], st.session_state["segmentation"]
    if st.button("Erase"):
        forget(study)
        forget(segmentation)
    comparison = st.session_state.get("comparison")
    state = viewer(study, segmentation, key="viewer", look_at=look_at, comparison=comparison)
    st.text(f"state {state.plane.name} {state.voxel} {state.modality.value}")


def other_page() -> None:
    st.text("another page")


if __name__ == "__main__":
    if "grace" in st.query_params:
        STORE.grace_s = float(st.query_params["grace"])
    st.set_page_config(layout="wide")
    st.navigation(
        [
            st.Page(image_page, title="Images", url_path="images", default=True),
            st.Page(other_page, title="Other", url_path="other"),
        ]
    ).run()
