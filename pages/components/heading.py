"""The first line of a page that holds patient data."""

import streamlit as st

from pages.components.session import erase


def heading(title: str) -> None:
    """The page's title, and the button that forgets everything."""
    text, button = st.columns([6, 1], vertical_alignment="center")
    text.subheader(title)
    button.button(
        "Erase",
        key="erase_all",
        icon=":material/delete:",
        on_click=erase,
        help="Forgets the study on the Segment page, all uploads and all results.",
        width="stretch",
    )
