"""What a session keeps of a study, and for how long."""

from streamlit.testing.v1 import AppTest


def one_study_after_another() -> None:
    import streamlit as st

    from pages.components.session import erase, keep, memo, open_visit

    def computed(study: str) -> None:
        st.text(memo(("volume",), lambda: study))
        st.text(keep("earlier mask", lambda: study))

    open_visit(None)  # type: ignore[arg-type]
    computed("first")
    computed("the first, still")
    open_visit(None)  # type: ignore[arg-type]
    computed("second")
    erase()
    computed("third")


def test_nothing_computed_from_one_study_is_shown_of_the_next() -> None:
    app = AppTest.from_function(one_study_after_another).run()
    assert not app.exception
    told = [text.value for text in app.text]
    assert told == [*("first",) * 4, *("second",) * 2, *("third",) * 2]
