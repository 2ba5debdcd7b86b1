"""Small tables as text: Streamlit's own tables cost two seconds for a library that nobody needs."""

from collections.abc import Iterable, Sequence

import streamlit as st


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Show a table; the first column is text, the others are numbers."""
    lines = [_line(columns), _line([":--", *["--:"] * (len(columns) - 1)])]
    st.markdown("\n".join([*lines, *map(_line, rows)]))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
