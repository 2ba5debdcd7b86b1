"""The wait for the network and for a segmentation: looked at without rerunning the page."""

import streamlit as st

from pages.components.engine import Job, engine
from pages.components.session import erase


def warn_without_network() -> None:
    """Say on every page that the network could not be loaded, and offer to try again."""
    # It looks again while the network loads, and keeps its place on the page when it has: a page
    # that is rerun from within while a reader clicks stays unresponsive.
    every = None if engine().ready else 2.0
    st.fragment(_warning, run_every=every)()


def _warning() -> None:
    failure = engine().failure
    if failure is not None:
        st.error(f"Nothing can be segmented: {failure}")
        st.button("Load the network again", key="load_again", on_click=engine().load_again)


@st.fragment(run_every=1.0)
def show_progress(job: Job) -> None:
    """Progress bar with the time that is left; reruns the page once the job is done."""
    if job.done:
        st.rerun()
    if not engine().ready:
        st.progress(0.0, "Loading the network (only once after the start of the app) …")
    elif ahead := engine().ahead_of(job):
        st.progress(0.0, f"Waiting: studies before yours: {ahead}.")
    else:
        st.progress(job.share, f"Segmenting: about {job.remaining_s:.0f} s left.")
    if st.button("Cancel", key="cancel"):
        erase()
        st.rerun()
