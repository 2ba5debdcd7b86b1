"""What every page that holds patient data has: its title, and the button that forgets it."""

import streamlit as st

from pages.components.session import erase


def heading(title: str) -> None:
    """The page's title, and the button that forgets everything."""
    text, button = st.columns([6, 1], vertical_alignment="center")
    text.subheader(title)
    with button:
        erase_button()


def erase_button() -> None:
    """Forget everything and start anew: the same on whichever page it is pressed."""
    st.button(
        "Erase",
        key="erase",
        icon=":material/delete:",
        on_click=erase,
        help="Forgets the scans, masks and results of all pages at once, and offers empty forms.",
        width="stretch",
    )
