"""Everything the app remembers between reruns, typed, in one place.

Patient data lives here, in the reader's own session, and nowhere else.
"""

import secrets
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import streamlit as st

from pages.components.engine import Job
from pages.components.expiry import forget_files
from pages.components.viewer import LookAt, forget_session
from utils.correct import Edits, History
from utils.intake import Intake
from utils.segmentation import Segmentation

_VISIT, _GENERATION, _MEMO, _KEPT = "visit", "upload_generation", "memo", "kept"
T = TypeVar("T")


@dataclass
class Visit:
    """The study on screen and all that came of it.

    Attributes
    ----------
    intake : Intake
        The scans, what was found about them, and the hashes of their files.
    synthetic : bool
        Whether it is the demo study.
    token : str
        Stands for the study in file names: unguessable, so that no two downloads share an address.
    job : Job or None
        The segmentation under way.
    segmentation : Segmentation or None
        Its result: the model's own, never changed.
    mask : bytes or None
        The result as a file, once it has been written and verified.
    look_at : LookAt or None
        Where the page last sent the reader.
    history : History
        The reader's corrections, and the way back and forth between them.
    revision : int
        Counts the changes of the corrections that did not come from their own widgets.
    edited : Segmentation or None
        What the corrections make of the result; None without any.
    edited_mask : bytes or None
        That as a file, once it has been written and verified.
    """

    intake: Intake
    synthetic: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    job: Job | None = None
    segmentation: Segmentation | None = None
    mask: bytes | None = None
    look_at: LookAt | None = None
    history: History = field(default_factory=History)
    revision: int = 0
    edited: Segmentation | None = None
    edited_mask: bytes | None = None

    @property
    def edits(self) -> Edits:
        """The corrections in force."""
        return self.history.present

    def __del__(self) -> None:
        """Nobody waits for the result any more."""
        if self.job is not None:
            self.job.cancel()


def current_visit() -> Visit | None:
    """The study on screen, if there is one."""
    visit: Visit | None = st.session_state.get(_VISIT)
    return visit


def open_visit(intake: Intake, *, synthetic: bool = False) -> Visit:
    """Put a new study on screen; the previous one is gone before it appears."""
    close_visit()
    visit = Visit(intake, synthetic)
    _forget_computed()
    st.session_state[_VISIT] = visit
    return visit


def close_visit() -> None:
    """Forget the study on screen and everything computed from it."""
    visit: Visit | None = st.session_state.pop(_VISIT, None)
    if visit is not None and visit.job is not None:
        visit.job.cancel()
    forget_session()


def erase() -> None:
    """Forget the study and the uploaded files themselves."""
    close_visit()
    _forget_computed()
    st.session_state[_GENERATION] = upload_generation() + 1
    forget_files()  # Streamlit itself keeps them until the session ends


def upload_generation() -> int:
    """Part of the upload widgets' keys: a new number gives empty ones, and drops the old files."""
    generation: int = st.session_state.get(_GENERATION, 0)
    return generation


def memo(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` returned for this key in this session.

    Streamlit's own cache is shared by all sessions: not a place for scans. `prune_memo` drops it
    once the Segment page does without; it can be made again.
    """
    kept: dict[Hashable, Any] = st.session_state.setdefault(_MEMO, {})
    value, _ = kept[key] if key in kept else (make(), True)
    kept[key] = value, True
    return value


def keep(key: Hashable, make: Callable[[], T]) -> T:
    """What a page must find again after a look at another: uploads, typed dates, a running test.

    It stays until the reader erases the study or opens another.
    """
    kept: dict[Hashable, Any] = st.session_state.setdefault(_KEPT, {})
    if key not in kept:
        kept[key] = make()
    value: T = kept[key]
    return value


def recall(key: Hashable) -> Any:
    """What `memo` or `keep` hold, or None; for callbacks: their arguments live for ever."""
    if key in st.session_state.get(_KEPT, {}):
        return st.session_state[_KEPT][key]
    value, _ = st.session_state.get(_MEMO, {}).get(key, (None, False))
    return value


def widget_value(key: str) -> Any:
    """What a widget holds; for callbacks, which run before the widget itself does."""
    return st.session_state.get(key)


def prune_memo() -> None:
    """Drop what this run has not asked for: files that were taken away, and what became of them."""
    kept: dict[Hashable, Any] = st.session_state.get(_MEMO, {})
    used = {key: value for key, (value, asked_for) in kept.items() if asked_for}
    st.session_state[_MEMO] = {key: (value, False) for key, value in used.items()}


def _forget_computed() -> None:
    st.session_state.pop(_MEMO, None)
    st.session_state.pop(_KEPT, None)
