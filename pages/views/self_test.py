"""Self-test: whether this computer segments as it should."""

import streamlit as st

from pages.components.engine import engine
from pages.components.self_test import current_test, show_result, start_button, watch_test
from utils.self_test import RUNS

st.subheader("Self-test of this computer")
st.markdown(
    "A synthetic head whose tumour is known goes through the same network, the same queue and the "
    f"same files as a patient's scans, {len(RUNS)} times and in "
    f"{len(set(RUNS))} axis orders. No scan of yours is touched."
)
test = current_test()
if test is None:
    start_button("Run the self-test")
elif test.result is None and test.error is None:
    watch_test()
else:
    show_result(test)
    runtime = engine().runtime
    st.caption(f"Ran as: {runtime}." if runtime else "The network could not be loaded.")
    start_button("Run it again")
