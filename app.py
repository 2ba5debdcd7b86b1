"""Entry point: page frame and navigation. Run with ``streamlit run app.py``."""

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager

from pages.components.engine import engine
from pages.components.expiry import expire_closed_sessions
from pages.components.guard import demand_login, protection
from pages.components.progress import warn_without_network
from pages.components.viewer import viewer_routes

app = st.App(  # the server; the pages below are its script
    __file__, routes=viewer_routes(), middleware=protection(), lifespan=expire_closed_sessions
)

# Until st.navigation has run once, Streamlit takes a folder named `pages` for its own older kind,
# and tells whoever opens any page but the first that it does not exist.
PagesManager.uses_pages_directory = False

if __name__ == "__main__":
    st.set_page_config(page_title="Brain tumour segmentation", page_icon="🧠", layout="wide")
    demand_login()
    engine()  # starts to load the network while the reader looks for the files
    page = st.navigation(
        [
            st.Page(
                "pages/views/segment.py", title="Segment", icon=":material/neurology:", default=True
            ),
            st.Page("pages/views/compare.py", title="Compare", icon=":material/compare:"),
            st.Page(
                "pages/views/follow_up.py",
                title="Follow-up",
                icon=":material/timeline:",
                url_path="followup",
            ),
            st.Page("pages/views/model.py", title="Model", icon=":material/query_stats:"),
            st.Page(
                "pages/views/self_test.py",
                title="Self-test",
                icon=":material/fact_check:",
                url_path="selftest",
            ),
            st.Page("pages/views/guide.py", title="Help", icon=":material/help:"),
        ],
        position="top",
    )
    # Streamlit leaves a hand's breadth of air above a page, and writes numbers as on a poster
    st.html(
        "<style>"
        ".stMainBlockContainer {padding: 3.4rem 2rem 1rem}"
        ".stMainBlockContainer > .stVerticalBlock {gap: 0.5rem}"
        "[data-testid='stMetricValue'] {font-size: 1.5rem}"
        "</style>"
    )
    st.caption(
        "For research only. Not a medical device; do not base a decision about a patient on it."
    )
    warn_without_network()
    page.run()
