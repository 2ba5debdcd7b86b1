"""What a session keeps of a study, and for how long."""

import weakref
from types import SimpleNamespace

import pytest
from streamlit import runtime
from streamlit.testing.v1 import AppTest

from pages.components.expiry import Sweep


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


class Held:
    """Stands for a study that something refers to in a circle, as a traceback does."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_closed_session_held_in_a_circle_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    session = SimpleNamespace(
        id="gone", _session_state=Held(), _fragment_storage=SimpleNamespace(clear=lambda: None)
    )
    away = [SimpleNamespace(session=session, client=None)]
    server = SimpleNamespace(
        _session_mgr=SimpleNamespace(list_sessions=lambda: away),
        close_session=closed.append,
        media_file_mgr=SimpleNamespace(remove_orphaned_files=lambda: None),
    )
    monkeypatch.setattr(runtime, "get_instance", lambda: server)
    held = weakref.ref(session._session_state)
    sweep = Sweep(60)
    sweep(0)
    sweep(59)
    assert not closed
    assert held() is not None
    sweep(60)
    assert closed == ["gone"]
    assert held() is None
